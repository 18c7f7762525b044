from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Execution(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXECUTION_UNSPECIFIED: _ClassVar[Execution]
    EXECUTION_NONE: _ClassVar[Execution]
    EXECUTION_UNKNOWN: _ClassVar[Execution]
    EXECUTION_DONE: _ClassVar[Execution]
EXECUTION_UNSPECIFIED: Execution
EXECUTION_NONE: Execution
EXECUTION_UNKNOWN: Execution
EXECUTION_DONE: Execution

class CallInfo(_message.Message):
    __slots__ = ("request_id", "server", "connection_id", "protocol_version", "from_cache", "execution")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    FROM_CACHE_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    server: str
    connection_id: str
    protocol_version: str
    from_cache: bool
    execution: Execution
    def __init__(self, request_id: _Optional[str] = ..., server: _Optional[str] = ..., connection_id: _Optional[str] = ..., protocol_version: _Optional[str] = ..., from_cache: _Optional[bool] = ..., execution: _Optional[_Union[Execution, str]] = ...) -> None: ...

class CallRequest(_message.Message):
    __slots__ = ("server", "message_json", "method", "name")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_JSON_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    server: str
    message_json: bytes
    method: str
    name: str
    def __init__(self, server: _Optional[str] = ..., message_json: _Optional[bytes] = ..., method: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class CallResponse(_message.Message):
    __slots__ = ("message_json", "info")
    MESSAGE_JSON_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    message_json: bytes
    info: CallInfo
    def __init__(self, message_json: _Optional[bytes] = ..., info: _Optional[_Union[CallInfo, _Mapping]] = ...) -> None: ...

class CallEvent(_message.Message):
    __slots__ = ("notification_json", "response")
    NOTIFICATION_JSON_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    notification_json: bytes
    response: CallResponse
    def __init__(self, notification_json: _Optional[bytes] = ..., response: _Optional[_Union[CallResponse, _Mapping]] = ...) -> None: ...

class StreamRequest(_message.Message):
    __slots__ = ("server", "connection_id", "tools_list_changed", "prompts_list_changed", "resources_list_changed", "resource_subscriptions", "log_level")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    TOOLS_LIST_CHANGED_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_LIST_CHANGED_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_LIST_CHANGED_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    LOG_LEVEL_FIELD_NUMBER: _ClassVar[int]
    server: str
    connection_id: str
    tools_list_changed: bool
    prompts_list_changed: bool
    resources_list_changed: bool
    resource_subscriptions: _containers.RepeatedScalarFieldContainer[str]
    log_level: str
    def __init__(self, server: _Optional[str] = ..., connection_id: _Optional[str] = ..., tools_list_changed: _Optional[bool] = ..., prompts_list_changed: _Optional[bool] = ..., resources_list_changed: _Optional[bool] = ..., resource_subscriptions: _Optional[_Iterable[str]] = ..., log_level: _Optional[str] = ...) -> None: ...

class StreamResponse(_message.Message):
    __slots__ = ("notification_json", "info")
    NOTIFICATION_JSON_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    notification_json: bytes
    info: CallInfo
    def __init__(self, notification_json: _Optional[bytes] = ..., info: _Optional[_Union[CallInfo, _Mapping]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("server", "protocol_version")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    server: str
    protocol_version: str
    def __init__(self, server: _Optional[str] = ..., protocol_version: _Optional[str] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("server", "protocol_version")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    server: str
    protocol_version: str
    def __init__(self, server: _Optional[str] = ..., protocol_version: _Optional[str] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ("grace_ms", "reason")
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    grace_ms: int
    reason: str
    def __init__(self, grace_ms: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ClientFrame(_message.Message):
    __slots__ = ("message_json", "open")
    MESSAGE_JSON_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    message_json: bytes
    open: Open
    def __init__(self, message_json: _Optional[bytes] = ..., open: _Optional[_Union[Open, _Mapping]] = ...) -> None: ...

class ServerFrame(_message.Message):
    __slots__ = ("message_json", "opened", "draining", "info")
    MESSAGE_JSON_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    message_json: bytes
    opened: Opened
    draining: Draining
    info: CallInfo
    def __init__(self, message_json: _Optional[bytes] = ..., opened: _Optional[_Union[Opened, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ..., info: _Optional[_Union[CallInfo, _Mapping]] = ...) -> None: ...

class ListToolsRequest(_message.Message):
    __slots__ = ("server",)
    SERVER_FIELD_NUMBER: _ClassVar[int]
    server: str
    def __init__(self, server: _Optional[str] = ...) -> None: ...

class ListToolsResponse(_message.Message):
    __slots__ = ("tools_json", "info")
    TOOLS_JSON_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    tools_json: _containers.RepeatedScalarFieldContainer[bytes]
    info: CallInfo
    def __init__(self, tools_json: _Optional[_Iterable[bytes]] = ..., info: _Optional[_Union[CallInfo, _Mapping]] = ...) -> None: ...

class CallToolRequest(_message.Message):
    __slots__ = ("server", "tool", "arguments_json", "meta_json")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    META_JSON_FIELD_NUMBER: _ClassVar[int]
    server: str
    tool: str
    arguments_json: bytes
    meta_json: bytes
    def __init__(self, server: _Optional[str] = ..., tool: _Optional[str] = ..., arguments_json: _Optional[bytes] = ..., meta_json: _Optional[bytes] = ...) -> None: ...

class CallToolResponse(_message.Message):
    __slots__ = ("is_error", "result_json", "info")
    IS_ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    is_error: bool
    result_json: bytes
    info: CallInfo
    def __init__(self, is_error: _Optional[bool] = ..., result_json: _Optional[bytes] = ..., info: _Optional[_Union[CallInfo, _Mapping]] = ...) -> None: ...
