"""The environment in which libtpu compiles without a TPU; to be set before jax is imported."""

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",  # whatever this machine has, nothing runs on it
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # other processes may compile too
    # A virtual machine would be asked what it is; any answer will do, the topology is named when compiling.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    # Only errors on the terminal.
    "TPU_MIN_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
