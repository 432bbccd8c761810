// Which machine code runs when a kernel is called: the best that the processor has, or what the environment's CK_ISA names.
//
// The choice is made once, before main. The loader could make it (ifunc, which target_clones builds on), but it would ask
// before there is an environment to be read, and before a sanitizer has started.
#include "CKernels.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

int ck_has_avx512(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl");
#else
    return 0;
#endif
}

int ck_all_finite(const float *x, size_t n) { return isfinite(ck_max_abs(x, n)); }

static const char *const names[] = {
    [CK_BASELINE] = "baseline", [CK_AVX2] = "avx2", [CK_AVX512] = "avx512", [CK_AVX512VNNI] = "avx512vnni",
    [CK_AVX512BF16] = "avx512bf16"};
static ck_isa chosen = CK_BASELINE;
static const char *refused;

ck_isa ck_chosen_isa(void) { return chosen; }
const char *ck_isa_name(ck_isa isa) { return names[isa]; }
const char *ck_refused_isa(void) { return refused; }

ck_isa ck_best_isa(void) {
#if CK_HAS_VARIANTS
    if (__builtin_cpu_supports("x86-64-v4")) {
        if (!__builtin_cpu_supports("avx512vnni")) return CK_AVX512;
        return __builtin_cpu_supports("avx512bf16") ? CK_AVX512BF16 : CK_AVX512VNNI;
    }
    if (__builtin_cpu_supports("x86-64-v3")) return CK_AVX2;
#endif
    return CK_BASELINE;
}

#if CK_HAS_VARIANTS
// A kernel's name is one jump to where its pointer leads: arguments and stack stay as the caller has laid them.
#define CK_KERNEL(name) \
    extern __typeof__(name) name##_avx512, name##_avx2, name##_baseline; \
    __attribute__((visibility("hidden"))) __typeof__(name) *name##_chosen = name##_baseline; \
    __asm__(".text\n.p2align 4\n.globl " #name "\n.type " #name ",@function\n" #name ":\n" \
            "endbr64\njmp *" #name "_chosen(%rip)\n.size " #name ", .-" #name "\n");
#define CK_VNNI_KERNEL(name) extern __typeof__(name) name##_avx512vnni; CK_KERNEL(name)
#define CK_BF16_KERNEL(name) extern __typeof__(name) name##_avx512bf16; CK_KERNEL(name)
#include "kernel_names.h"
#undef CK_KERNEL
#undef CK_VNNI_KERNEL
#undef CK_BF16_KERNEL

static void point_kernels(ck_isa isa) {
#define CK_KERNEL(name) name##_chosen = isa >= CK_AVX512 ? name##_avx512 : isa == CK_AVX2 ? name##_avx2 : name##_baseline;
#define CK_VNNI_KERNEL(name) CK_KERNEL(name) if (isa >= CK_AVX512VNNI) name##_chosen = name##_avx512vnni;
#define CK_BF16_KERNEL(name) CK_KERNEL(name) if (isa >= CK_AVX512BF16) name##_chosen = name##_avx512bf16;
#include "kernel_names.h"
#undef CK_KERNEL
#undef CK_VNNI_KERNEL
#undef CK_BF16_KERNEL
}
#else
static void point_kernels(ck_isa isa) { (void)isa; }
#endif

__attribute__((constructor)) static void choose(void) {
#if CK_HAS_VARIANTS
    __builtin_cpu_init();
#endif
    chosen = ck_best_isa();
    const char *wanted = getenv("CK_ISA");
    if (wanted && *wanted) {
        int isa = (int)chosen;
        while (isa >= CK_BASELINE && strcmp(names[isa], wanted)) isa--;
        if (isa >= CK_BASELINE)
            chosen = (ck_isa)isa;
        else
            refused = wanted;
    }
    point_kernels(chosen);
}
