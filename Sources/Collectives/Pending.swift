/// A communication under way. It owns the memory that is being read or written until it has completed.
package final class Pending<Value> {
    /// Makes progress, and waits for the end if asked to; true when complete.
    package typealias Progress = (_ wait: Bool) throws(MPIError) -> Bool

    private let value: Value
    private var progress: Progress?

    /// `progress` nil: complete from the start.
    package init(_ value: Value, progress: Progress?) {
        self.value = value
        self.progress = progress
    }

    /// Whether the communication has completed; makes progress, never waits.
    package func isComplete() throws(MPIError) -> Bool {
        guard let progress else { return true }
        guard try progress(false) else { return false }
        self.progress = nil
        return true
    }

    /// Waits for the end and gives the memory back.
    package func wait() throws(MPIError) -> Value {
        if let progress { _ = try progress(true) }
        progress = nil
        return value
    }

    deinit {
        // Dropped while under way, as when an error unwinds: waiting could hang, and freed memory could still be written to.
        if progress != nil { _ = Unmanaged.passRetained(Box(value)) }
    }
}

private final class Box<Value> {
    let value: Value
    init(_ value: Value) { self.value = value }
}

/// Elements at a fixed address, for a communication under way.
package final class PinnedElements<Element: BitwiseCopyable> {
    let memory: UnsafeMutableBufferPointer<Element>

    package init(_ elements: [Element]) {
        memory = .allocate(capacity: elements.count)
        _ = memory.initialize(from: elements)
    }

    package var elements: [Element] { Array(memory) }

    deinit { memory.deallocate() }
}
