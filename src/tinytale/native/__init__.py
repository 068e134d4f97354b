"""Optional CPU kernels: C++ behind a plain C interface, built once with the system's compiler, loaded by ctypes."""
