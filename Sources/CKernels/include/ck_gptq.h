#pragma once
#include "ck_quantize.h"
#include "ck_target.h"

// Columns of a weight that are rounded one after the other, what each loses going into those behind it (arXiv 2210.17323).
// Weights are transposed: a row of memory is a column of the weight.
#define CK_GPTQ_COLUMNS 32
typedef struct {
    size_t rows;           // of the weight: values in a row of memory
    size_t count;          // columns, at most CK_GPTQ_COLUMNS
    const float *weights;  // count×rows: what is to be rounded, with all that earlier columns have left in it
    const float *original; // count×rows: the weights as they were
    const float *ratios;   // count×count: what an error of column i adds to column j > i, at [i·count + j]
    const float *scales;   // a row of `rows` values per group
    const float *zeros;
    const int32_t *groups; // each column's group
} ck_gptq_block;

// For i = 0, 1, …: code_i ← round(w_i), e_i ← original_i − value(code_i), w_j ← w_j + e_i·ratios_ij for i < j < count, where w
// starts as `weights`, which stay. codes[columns[i]·rows …] ← code_i; errors[i·rows …] ← e_i. For the weight's rows begin … end
// − 1.
void ck_gptq_columns(ck_gptq_block block, ck_quantizer q, int16_t *codes, const int32_t *columns, float *errors, size_t begin,
                     size_t end);
