// A product of matrices, block by block, its blocks shared among the team's threads.
#include "CKernels.h"
#include <stdlib.h>

enum {
    DEPTH = CK_PRODUCT_DEPTH,
    ROWS = 224,       // of A's block: DEPTH of them fit a cache of the second level
    COLUMNS = 1024,   // of B's block, which all threads read
    PANELS = 8,       // of B that a part lays out
    WHOLE = 1 << 18,  // products that a thread is worth
    MOST_PANEL = 32,  // the widest tile's rows or columns
    LINE = 64,
};

typedef struct {
    ck_factors factors;
    int a_transposed, b_transposed;
    size_t rows, columns, depth, words; // of this block: C's rows, C's columns, steps of the sum, words that hold them
    float alpha, beta;
    const float *a, *b; // where op(A)'s and op(B)'s blocks begin
    size_t a_stride, b_stride, c_stride;
    float *c, *panels;
    size_t row_parts, column_step; // how rows and columns are divided into parts
    ck_product_tile tile;
} block;

static size_t at_most(size_t a, size_t b) { return a < b ? a : b; }
static size_t parts_of(size_t count, size_t step) { return (count + step - 1) / step; }

// A thread's own memory, kept: `columns` floats for the panels of B, where it calls, then those of A.
static float *room(void) {
    static _Thread_local float *kept;
    if (!kept) {
        size_t floats = (size_t)DEPTH * (COLUMNS + MOST_PANEL + ROWS + MOST_PANEL);
        if (posix_memalign((void **)&kept, LINE, floats * sizeof(float)) != 0) abort();
    }
    return kept;
}

static void lay_out_part(void *context, size_t part) {
    const block *w = context;
    size_t step = PANELS * w->tile.width, first = part * step;
    const float *b = w->b + (w->b_transposed ? first * w->b_stride : first);
    ck_product_columns(w->factors, b, w->b_stride, w->b_transposed, at_most(step, w->columns - first), w->depth,
                       w->panels + first * w->words);
}

// Rows of whole tiles, whose number differs by one at most from part to part.
static size_t first_row(const block *w, size_t row_part) {
    size_t height = w->tile.height, tiles = parts_of(w->rows, height);
    return at_most(row_part * tiles / w->row_parts * height, w->rows);
}

static void multiply_part(void *context, size_t part) {
    const block *w = context;
    size_t place = part % w->row_parts, i = first_row(w, place), j = part / w->row_parts * w->column_step;
    size_t rows = first_row(w, place + 1) - i, columns = at_most(w->column_step, w->columns - j);
    float *panels = room() + (size_t)DEPTH * (COLUMNS + MOST_PANEL);
    const float *a = w->a + (w->a_transposed ? i : i * w->a_stride);
    ck_product_rows(w->factors, a, w->a_stride, w->a_transposed, rows, w->depth, panels);
    ck_product_block(w->factors, panels, w->panels + j * w->words, rows, columns, w->words, w->alpha, w->beta,
                     w->c + i * w->c_stride + j, w->c_stride);
}

// Parts of about the same work, as many for each thread, and enough of them that a late thread leaves its own to others; by
// rows first, since each part lays out its rows of A.
static void divide(block *w, size_t threads) {
    size_t tiles = parts_of(w->rows, w->tile.height), width = w->tile.width;
    size_t wanted = threads > 1 ? 3 * threads : 1;
    size_t row_parts = parts_of(tiles, ROWS / w->tile.height);
    if (row_parts < wanted) row_parts = wanted;
    w->row_parts = at_most(parts_of(row_parts, threads) * threads, tiles);
    size_t across = parts_of(wanted, w->row_parts);
    // Fewer than four panels would cost more to lay A out for than they multiply.
    size_t least = 4 * width, step = parts_of(parts_of(w->columns, across), width) * width;
    w->column_step = step < least ? least : step;
}

static void multiply(block *w, size_t threads) {
    size_t work = w->rows * w->columns * w->depth;
    threads = at_most(threads, 1 + work / WHOLE);
    w->panels = room();
    size_t layouts = parts_of(w->columns, PANELS * w->tile.width);
    ck_share(w->columns * w->depth < WHOLE / 4 ? 1 : threads, layouts, lay_out_part, w);
    divide(w, threads);
    ck_share(threads, w->row_parts * parts_of(w->columns, w->column_step), multiply_part, w);
}

static void scale(float *c, size_t stride, size_t m, size_t n, float beta) {
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) c[i * stride + j] = beta == 0 ? 0 : beta * c[i * stride + j];
}

size_t ck_product_words(ck_factors factors, size_t k) { return factors == CK_BFLOAT16 ? (k + 1) / 2 : k; }

void ck_product(ck_factors factors, int a_transposed, int b_transposed, size_t m, size_t n, size_t k, float alpha,
                const float *a, size_t a_stride, const float *b, size_t b_stride, float beta, float *c, size_t c_stride,
                size_t threads) {
    if (m == 0 || n == 0) return;
    if (k == 0) return scale(c, c_stride, m, n, beta);
    block w = {
        .factors = factors, .a_transposed = a_transposed, .b_transposed = b_transposed, .rows = m, .alpha = alpha,
        .a_stride = a_stride, .b_stride = b_stride, .c_stride = c_stride, .tile = ck_product_tile_size()};
    // Blocks of about the same depth: one that is short costs as much to lay out for each sum.
    size_t most = factors == CK_BFLOAT16 ? 2 * DEPTH : DEPTH;
    size_t step = parts_of(k, parts_of(k, most));
    step = parts_of(step, 16) * 16;
    for (size_t j = 0; j < n; j += COLUMNS) {
        w.columns = at_most(COLUMNS, n - j);
        w.c = c + j;
        for (size_t p = 0; p < k; p += step) {
            w.depth = at_most(step, k - p);
            w.words = ck_product_words(factors, w.depth);
            w.beta = p == 0 ? beta : 1;
            w.a = a + (a_transposed ? p * a_stride : p);
            w.b = b + (b_transposed ? j * b_stride + p : p * b_stride + j);
            multiply(&w, threads);
        }
    }
}
