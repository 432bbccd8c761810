// Hot loops in C. Each is compiled for AVX-512, AVX2 and baseline x86-64, products of bytes for VNNI, too, those of matrices
// for AVX512_BF16, and chosen when the program starts (ck_cpu.h). Arrays are float32, row-major and contiguous unless a stride
// is given. None allocates but the team and the product, which keep what they take.
#pragma once
#include "ck_convert.h"
#include "ck_cpu.h"
#include "ck_decode.h"
#include "ck_digest.h"
#include "ck_elementwise.h"
#include "ck_gptq.h"
#include "ck_hadamard.h"
#include "ck_integer.h"
#include "ck_network.h"
#include "ck_optimizer.h"
#include "ck_product.h"
#include "ck_rotation.h"
#include "ck_quantize.h"
#include "ck_statistics.h"
#include "ck_team.h"
#include "ck_ternary.h"
