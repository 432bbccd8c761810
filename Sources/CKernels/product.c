// A product of matrices, block by block, its blocks shared among the team's threads.
#include "CKernels.h"
#include <stdlib.h>

enum {
    DEPTH = CK_PRODUCT_DEPTH,
    ROWS = 224,       // of A's block: DEPTH of them fit a cache of the second level
    FEW_COLUMNS = 768, // for which A is not laid out
    FEW = 256,        // rows and columns for which B is not, either
    LEAST_HEIGHT = 6, // of tiles that read in place; of those for which A's rows lie side by side:
    LEAST_HEIGHT_ALONG = 14,
    COLUMNS = 1024,   // of B's block, which all threads read
    LAYOUTS = 2,      // parts of a thread that lay B out
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
    // How tiles of rows are divided into parts: `each` of every thread's in `pieces`, over all columns; then the `rest`, fewer
    // than threads, in `rest_pieces` by `strips` of columns, of which a thread has `more`.
    size_t threads, each, pieces, rest, rest_pieces, strips, more;
    ck_product_tile tile;
    int a_lies, b_lies; // tiles read it where it lies
} block;

typedef struct {
    size_t first, end;
} range;

static size_t at_most(size_t a, size_t b) { return a < b ? a : b; }
static size_t at_least(size_t a, size_t b) { return a > b ? a : b; }
static size_t parts_of(size_t count, size_t step) { return (count + step - 1) / step; }

// Part `index` of `parts` of 0..<count, whose lengths differ by one at most.
static range share_of(size_t count, size_t index, size_t parts) {
    return (range){index * count / parts, (index + 1) * count / parts};
}

// A thread's own memory, kept: `columns` floats for the panels of B, where it calls, then those of A.
static float *room(void) {
    static _Thread_local float *kept;
    if (!kept) {
        size_t floats = (size_t)DEPTH * (COLUMNS + MOST_PANEL + ROWS + MOST_PANEL);
        if (posix_memalign((void **)&kept, LINE, floats * sizeof(float)) != 0) abort();
    }
    return kept;
}

// To lay a factor out costs the more, the fewer tiles of the other one it meets; to read it where it lies costs a little each
// time. Measured with AVX-512 (Zen 5) on the shapes of a step: read in place, few are 3 to 30 % faster and more are slower.
static void choose_places(block *w) {
    size_t least = w->a_transposed ? LEAST_HEIGHT_ALONG : LEAST_HEIGHT;
    if (w->factors == CK_BFLOAT16) return;
    w->a_lies = w->columns <= FEW_COLUMNS && w->tile.height >= least;
    w->b_lies = !w->b_transposed && w->rows <= FEW && w->columns <= FEW && w->tile.height >= LEAST_HEIGHT;
}

static void lay_out_columns(const block *w, range own) {
    size_t width = w->tile.width, j = own.first * width, columns = at_most(own.end * width, w->columns) - j;
    const float *b = w->b + (w->b_transposed ? j * w->b_stride : j);
    float *panels = w->b_lies ? w->panels : w->panels + j * w->words;
    ck_product_columns(w->factors, b, w->b_stride, w->b_transposed, columns, w->depth, panels);
}

static void lay_out_part(void *context, size_t part) {
    const block *w = context;
    range own = share_of(parts_of(w->columns, w->tile.width), part, LAYOUTS * w->threads);
    if (own.first < own.end) lay_out_columns(w, own);
}

static void lay_out(block *w) {
    size_t whole = w->columns / w->tile.width, all = parts_of(w->columns, w->tile.width);
    w->panels = room();
    if (!w->b_lies) ck_share(w->columns * w->depth < WHOLE / 4 ? 1 : w->threads, LAYOUTS * w->threads, lay_out_part, w);
    else if (whole < all) lay_out_columns(w, (range){whole, all});
}

static void multiply_region(const block *w, range tiles, range columns) {
    size_t i = tiles.first * w->tile.height, j = columns.first * w->tile.width;
    size_t rows = at_most(tiles.end * w->tile.height, w->rows) - i;
    size_t width = at_most(columns.end * w->tile.width, w->columns) - j;
    float *panels = room() + (size_t)DEPTH * (COLUMNS + MOST_PANEL);
    size_t row = w->a_transposed ? 1 : w->a_stride, first = w->a_lies ? rows / w->tile.height * w->tile.height : 0;
    const float *a = w->a + i * row;
    if (first < rows)
        ck_product_rows(w->factors, a + first * row, w->a_stride, w->a_transposed, rows - first, w->depth, panels);
    ck_product_factor rows_of_a = {panels, w->a_lies ? a : NULL, w->a_stride, w->a_transposed};
    ck_product_factor columns_of_b = {w->panels + (w->b_lies ? 0 : j * w->words), w->b_lies ? w->b + j : NULL, w->b_stride, 1};
    ck_product_block(w->factors, rows_of_a, columns_of_b, rows, width, w->words, w->alpha, w->beta,
                     w->c + i * w->c_stride + j, w->c_stride);
}

// A thread's parts follow each other, so that it has the same rows of all blocks that as many threads share.
static void multiply_part(void *context, size_t part) {
    const block *w = context;
    size_t panels = parts_of(w->columns, w->tile.width), parts = w->pieces + w->more;
    size_t thread = part / parts, place = part % parts;
    if (place < w->pieces) {
        range own = share_of(w->each, place, w->pieces);
        size_t before = thread * w->each;
        return multiply_region(w, (range){before + own.first, before + own.end}, (range){0, panels});
    }
    size_t index = (place - w->pieces) * w->threads + thread, before = w->threads * w->each;
    if (index >= w->rest_pieces * w->strips) return;
    range tiles = share_of(w->rest, index / w->strips, w->rest_pieces);
    multiply_region(w, (range){before + tiles.first, before + tiles.end}, share_of(panels, index % w->strips, w->strips));
}

// The same work for each thread, in several parts, so that a late thread leaves its own to others: by rows, since each part
// lays out its rows of A. A tile of rows too many for one thread would keep the others waiting: the rest is divided by columns.
static void divide(block *w, size_t threads) {
    size_t tiles = parts_of(w->rows, w->tile.height), most = ROWS / w->tile.height;
    w->threads = threads;
    w->each = tiles / threads;
    w->pieces = parts_of(w->each, most);
    if (threads > 1) w->pieces = at_most(at_least(w->pieces, 3), w->each);
    w->rest = tiles % threads;
    // Fewer than four panels would cost more to lay A out for than they multiply.
    w->strips = at_most(at_least(parts_of(w->columns, w->tile.width) / 4, 1), threads);
    w->rest_pieces = at_most(at_least(parts_of(threads, w->strips), parts_of(w->rest, most)), w->rest);
    w->more = parts_of(w->rest_pieces * w->strips, threads);
}

static void multiply(block *w, size_t threads) {
    divide(w, at_most(at_least(threads, 1), 1 + w->rows * w->columns * w->depth / WHOLE));
    choose_places(w);
    lay_out(w);
    ck_share(w->threads, w->threads * (w->pieces + w->more), multiply_part, w);
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
