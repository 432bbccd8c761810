// Every kernel; a new one gets a line here and its declaration in include/. Those of CK_VNNI_KERNEL and CK_BF16_KERNEL have a
// machine code more.
// kernels/convert.c
CK_KERNEL(ck_widen_f16)
CK_KERNEL(ck_widen_bf16)
CK_KERNEL(ck_widen_f64)
CK_KERNEL(ck_widen_i8)
CK_KERNEL(ck_narrow_f16)
CK_KERNEL(ck_narrow_bf16)
// kernels/cache.c
CK_KERNEL(ck_cache_store)
CK_KERNEL(ck_cache_load)
// kernels/codes.c
CK_KERNEL(ck_codes_store)
CK_KERNEL(ck_codes_vector)
CK_KERNEL(ck_codes_widen)
// kernels/decode.c
CK_KERNEL(ck_matrix_vector)
CK_KERNEL(ck_cached_attention)
CK_KERNEL(ck_cached_attention_scratch)
// kernels/digest.c
CK_KERNEL(ck_digest)
// kernels/elementwise.c
CK_KERNEL(ck_axpy)
CK_KERNEL(ck_weighted_sum)
CK_KERNEL(ck_scale)
CK_KERNEL(ck_sum_squares)
CK_KERNEL(ck_max_abs)
CK_KERNEL(ck_transpose)
// kernels/gptq.c
CK_KERNEL(ck_gptq_columns)
// kernels/hadamard.c
CK_KERNEL(ck_fwht)
CK_KERNEL(ck_mix_signs)
// kernels/integer_product.c
CK_VNNI_KERNEL(ck_integer_product)
CK_VNNI_KERNEL(ck_integer_peak)
// kernels/integer_tokens.c
CK_KERNEL(ck_integer_lay_out)
CK_KERNEL(ck_integer_round)
CK_KERNEL(ck_ternary_codes)
// kernels/network.c
CK_KERNEL(ck_rms_norm)
CK_KERNEL(ck_rms_norm_backward)
CK_KERNEL(ck_layer_norm)
CK_KERNEL(ck_layer_norm_backward)
CK_KERNEL(ck_relu)
CK_KERNEL(ck_relu_backward)
CK_KERNEL(ck_rope)
CK_KERNEL(ck_swiglu)
CK_KERNEL(ck_swiglu_backward)
CK_KERNEL(ck_softmax_causal)
CK_KERNEL(ck_softmax_causal_again)
CK_KERNEL(ck_softmax_backward)
CK_KERNEL(ck_row_dots)
CK_KERNEL(ck_add_bias)
CK_KERNEL(ck_column_sums)
CK_KERNEL(ck_cross_entropy)
CK_KERNEL(ck_kl_divergence)
CK_KERNEL(ck_agreements)
CK_KERNEL(ck_sample)
CK_KERNEL(ck_decode_attention)
// kernels/optimizer.c
CK_KERNEL(ck_adamw_step)
CK_KERNEL(ck_momentum_step)
// kernels/product.c
CK_KERNEL(ck_product_tile_size)
CK_BF16_KERNEL(ck_product_rows)
CK_BF16_KERNEL(ck_product_columns)
CK_BF16_KERNEL(ck_product_block)
// kernels/quantize.c
CK_KERNEL(ck_fake_quantize)
CK_KERNEL(ck_quantize_codes)
CK_KERNEL(ck_pack_codes)
CK_KERNEL(ck_unpack_codes)
CK_KERNEL(ck_dequantize)
CK_KERNEL(ck_fake_quantize_range_backward)
CK_KERNEL(ck_clip_search)
// kernels/rotation.c
CK_KERNEL(ck_subtract_sparse_product)
CK_KERNEL(ck_add_skew)
CK_KERNEL(ck_add_doubles)
CK_KERNEL(ck_range_loss)
CK_KERNEL(ck_whip_loss)
CK_KERNEL(ck_kurtosis_loss)
CK_KERNEL(ck_fourth_power_loss)
// kernels/statistics.c
CK_KERNEL(ck_channel_sums)
CK_KERNEL(ck_accumulate)
// kernels/ternary.c
CK_KERNEL(ck_ternary_gather)
CK_KERNEL(ck_ternary_deflate)
CK_KERNEL(ck_ternary_bits)
CK_KERNEL(ck_ternary_gram)
CK_KERNEL(ck_ternary_descend)
CK_KERNEL(ck_ternary_accumulate)
CK_KERNEL(ck_ternary_kernel_row)
// kernels/ternary_digits.c
CK_KERNEL(ck_ternary_round)
CK_KERNEL(ck_ternary_recode)
// kernels/ternary_packed.c
CK_KERNEL(ck_ternary_pack)
CK_KERNEL(ck_ternary_unpack)
CK_KERNEL(ck_ternary_count)
CK_KERNEL(ck_ternary_apply)
// kernels/ternary_project.c
CK_KERNEL(ck_ternary_project)
// kernels/ternary_sparse.c
CK_KERNEL(ck_ternary_thin)
CK_KERNEL(ck_ternary_descend_sparse)
// kernels/ternary_sum.c
CK_KERNEL(ck_ternary_tile)
CK_KERNEL(ck_ternary_sum)
CK_KERNEL(ck_ternary_carry_residual)
