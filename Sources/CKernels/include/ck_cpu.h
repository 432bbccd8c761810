#pragma once

// The machine codes there are of each kernel, the better the later: of the psABI's levels x86-64, v3 and v4, of v4 with
// AVX512_VNNI, and with AVX512_BF16 as well.
typedef enum { CK_BASELINE, CK_AVX2, CK_AVX512, CK_AVX512VNNI, CK_AVX512BF16 } ck_isa;

// The best that this processor, and the system on it, run.
ck_isa ck_best_isa(void);
// The one that kernels run: the best, or the one that the environment variable CK_ISA names (baseline, avx2, avx512,
// avx512vnni, avx512bf16).
ck_isa ck_chosen_isa(void);
const char *ck_isa_name(ck_isa isa);
// The value of CK_ISA where it names nothing that runs here, and the best was taken; else NULL.
const char *ck_refused_isa(void);

// 1 when this processor, and the system on it, run the AVX-512 instructions of Skylake servers (F, DQ, BW, VL)
int ck_has_avx512(void);
