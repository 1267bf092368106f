; enable_fp: under Linux there is nothing to do.

enable_fp:
    ret
