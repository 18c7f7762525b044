"""Puts the sidecar into pods: one template, and four ways to apply it; knows no running sidecar.

vocabulary   the labels and annotations users write, in one table
choices      what in the template depends on the pod, and how it is settled for one pod
template     the container, its volumes and the pod's annotations
"""
