#pragma once

// 1 when this processor, and the system on it, run the AVX-512 instructions of Skylake servers (F, DQ, BW, VL)
int ck_has_avx512(void);
