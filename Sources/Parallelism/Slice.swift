/// The part of `count` items that falls to a rank: contiguous, in the order of ranks. What does not divide evenly goes to
/// the first ranks, one item each; with fewer items than ranks the last ranks get none.
package func slice(of count: Int, rank: Int, ranks: Int) -> Range<Int> {
    precondition((0..<ranks).contains(rank), "rank \(rank) of \(ranks)")
    let (share, extra) = count.quotientAndRemainder(dividingBy: ranks)
    let start = rank * share + min(rank, extra)
    return start..<start + share + (rank < extra ? 1 : 0)
}
