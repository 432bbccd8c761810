internal import CZeroMQ
internal import Glibc

extension ZeroMQSocket {
    /// The socket's side that binds: encrypts, and admits the keys the ZAP handler lists for `domain`.
    func secureAsServer(_ keys: CurveKeys, domain: String) throws(ZeroMQError) {
        try set(ZMQ_CURVE_SERVER, 1)
        try set(ZMQ_CURVE_SECRETKEY, keys.secretKey)
        try set(ZMQ_ZAP_DOMAIN, domain)
    }

    /// The socket's side that connects: the server must own `serverKey`.
    func secureAsClient(_ keys: CurveKeys, serverKey: String) throws(ZeroMQError) {
        try set(ZMQ_CURVE_SERVERKEY, serverKey)
        try set(ZMQ_CURVE_PUBLICKEY, keys.publicKey)
        try set(ZMQ_CURVE_SECRETKEY, keys.secretKey)
    }

    /// A local socket without a file has no permissions, so libzmq asks the kernel who connects: only processes of this user
    /// may. Options are numbers of 32 bits with a sign, users of 32 without.
    func admitOwnUserOnly() throws(ZeroMQError) { try set(ZMQ_IPC_FILTER_UID, Int(Int32(bitPattern: geteuid()))) }

    /// Notices a lost peer (seconds 1, 5, 5), and one that does not finish its handshake within 5 s.
    func setHeartbeats() throws(ZeroMQError) {
        try set(ZMQ_HANDSHAKE_IVL, 5000)
        try set(ZMQ_HEARTBEAT_IVL, 1000)
        try set(ZMQ_HEARTBEAT_TIMEOUT, 5000)
        try set(ZMQ_HEARTBEAT_TTL, 5000)
    }

    /// Messages queued at most per peer, in each direction; 0 is no limit.
    func setHighWaterMark(_ messages: Int, receiving: Int? = nil) throws(ZeroMQError) {
        try set(ZMQ_SNDHWM, messages)
        try set(ZMQ_RCVHWM, receiving ?? messages)
    }
}
