package import Models
internal import TernarySVD

extension Architecture {
    /// The replica that learns from each block's weights where rotations are learned from these alone (`rotation.objective`
    /// weights): blocks in their order, of the whole model, so that one has about as many weights as another. What is planned
    /// and what is run are dealt alike.
    package func weightOwners(replicas: Int) -> [Int] {
        // Replicas beyond the number of blocks get none.
        GreedyDispatch.owners(
            sizes: blocks.map { $0.linears.reduce(0) { $0 + $1.spec.count } }, ranks: max(1, min(replicas, blocks.count)))
    }
}
