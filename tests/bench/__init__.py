"""Measurements that README and docs quote; each writes the file it is quoted from."""
