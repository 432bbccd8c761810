#pragma once
#include "ck_target.h"

// The numbers that a product multiplies: the factors' floats, or those rounded to bfloat16 (8 bits of precision, ties to even).
// Sums are floats either way. Processors with AVX512_BF16 take the second at up to twice the rate; on others it is slower than
// the first.
typedef enum { CK_FLOAT32, CK_BFLOAT16 } ck_factors;

// C ← alpha·op(A)·op(B) + beta·C on row-major floats, op(A) m×k, op(B) k×n, on up to `threads` threads of the team. The strides
// are the distances between rows as stored; C may overlap neither factor. With beta 0, C's numbers are not read.
//
// Each number of C adds its products in the order of the sum, in equal blocks of at most CK_PRODUCT_DEPTH words (a float, or
// two factors in bfloat16). It depends neither on the number of threads nor on what other rows and columns the product has.
void ck_product(ck_factors factors, int a_transposed, int b_transposed, size_t m, size_t n, size_t k, float alpha,
                const float *a, size_t a_stride, const float *b, size_t b_stride, float beta, float *c, size_t c_stride,
                size_t threads);

// The most words of a column that a tile adds up in registers: a panel of B of so many fits a cache of the first level.
#define CK_PRODUCT_DEPTH 256

// What ck_product is made of, kernels/product.c: rows and columns of a tile; panels of A and of B, of `words` words a row or
// column for k steps of the sum; their product.
typedef struct {
    size_t height, width;
} ck_product_tile;
ck_product_tile ck_product_tile_size(void);
size_t ck_product_words(ck_factors factors, size_t k);
void ck_product_rows(ck_factors factors, const float *a, size_t stride, int transposed, size_t rows, size_t k, float *panels);
void ck_product_columns(ck_factors factors, const float *b, size_t stride, int transposed, size_t columns, size_t k,
                        float *panels);

// Where tiles find a factor: in panels, or, of float32 alone, in the matrix itself; there, rows or columns too few for a tile
// are in a panel. A tile's columns of B have to lie side by side.
typedef struct {
    const float *panels; // of all, or of those too few
    const float *matrix; // NULL where all are in panels
    size_t stride;
    int along; // a tile's rows of A, or columns of B, lie side by side in the matrix
} ck_product_factor;
void ck_product_block(ck_factors factors, ck_product_factor a, ck_product_factor b, size_t rows, size_t columns, size_t words,
                      float alpha, float beta, float *c, size_t stride);
