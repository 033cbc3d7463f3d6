"""The tests; they mirror the package."""

# Most of the time of a test is compilation: LLVM need not look for the fastest code.
FAST_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
