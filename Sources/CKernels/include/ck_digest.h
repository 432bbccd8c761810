#pragma once
#include "ck_target.h"

#define CK_DIGEST_LANES 32
// Mixes n floats, as they are stored, into the lanes. Any difference in one place leaves different lanes, since each step is a
// bijection of a lane; it guards against errors, not against enemies.
void ck_digest(const float *x, size_t n, uint64_t lanes[CK_DIGEST_LANES]);
