/// The part of `count` items that belongs to a rank: contiguous, in the order of ranks. The first ranks get one of the
/// remaining items each if the number does not divide evenly. With fewer items than ranks the last ranks get none.
package func slice(of count: Int, rank: Int, ranks: Int) -> Range<Int> {
    precondition((0..<ranks).contains(rank), "rank \(rank) of \(ranks)")
    let (share, extra) = count.quotientAndRemainder(dividingBy: ranks)
    let start = rank * share + min(rank, extra)
    return start..<start + share + (rank < extra ? 1 : 0)
}
