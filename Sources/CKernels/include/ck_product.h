#pragma once
#include "ck_target.h"

// C ← alpha·op(A)·op(B) + beta·C on row-major floats, op(A) m×k, op(B) k×n, on up to `threads` threads of the team. The strides
// are the distances between rows as stored; C may overlap neither factor. With beta 0, C's numbers are not read.
//
// Each number of C adds its products in the order of the sum, in blocks of CK_PRODUCT_DEPTH steps. It depends neither on the
// number of threads nor on what other rows and columns the product has.
void ck_product(int a_transposed, int b_transposed, size_t m, size_t n, size_t k, float alpha, const float *a, size_t a_stride,
                const float *b, size_t b_stride, float beta, float *c, size_t c_stride, size_t threads);

// Steps of the sum that a tile adds in registers: a panel of B of so many fits a cache of the first level.
#define CK_PRODUCT_DEPTH 256

// What ck_product is made of, kernels/product.c: rows and columns of a tile; panels of A and of B; their product.
typedef struct {
    size_t height, width;
} ck_product_tile;
ck_product_tile ck_product_tile_size(void);
void ck_product_rows(const float *a, size_t stride, int transposed, size_t rows, size_t k, float *panels);
void ck_product_columns(const float *b, size_t stride, int transposed, size_t columns, size_t k, float *panels);
void ck_product_block(const float *a, const float *b, size_t rows, size_t columns, size_t k, float alpha, float beta, float *c,
                      size_t stride);
