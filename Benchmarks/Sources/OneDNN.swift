internal import Glibc

/// oneDNN's product of unsigned and signed bytes, where the library is installed: only measured, nothing depends on it.
struct OneDNN {
    private typealias Product =
        @convention(c) (
            CChar, CChar, CChar, Int, Int, Int, Float, UnsafePointer<UInt8>, Int, UInt8, UnsafePointer<Int8>, Int, Int8, Float,
            UnsafeMutablePointer<Int32>, Int, UnsafePointer<Int32>
        ) -> Int32
    private let product: Product

    init?() {
        // Read once, when the library is loaded.
        setenv("OMP_NUM_THREADS", "1", 1)
        let names = ["libdnnl.so.3", "libdnnl.so.2", "libdnnl.so"]
        guard let library = names.lazy.compactMap({ (name: String) in dlopen(name, RTLD_NOW) }).first,
            let symbol = dlsym(library, "dnnl_gemm_u8s8s32")
        else { return nil }
        product = unsafeBitCast(symbol, to: Product.self)
    }

    /// c ← a·bᵀ for a `[m, k]` and b `[n, k]`.
    func multiply(_ a: [UInt8], _ b: [Int8], m: Int, n: Int, k: Int, into c: inout [Int32]) {
        let (plain, transposed, fixed) = (CChar(78), CChar(84), CChar(70))  // N, T, F
        let code = product(plain, transposed, fixed, m, n, k, 1, a, k, 0, b, k, 0, 0, &c, n, [0])
        precondition(code == 0, "oneDNN refuses a product of \(m)×\(k) and \(k)×\(n): \(code)")
    }
}
