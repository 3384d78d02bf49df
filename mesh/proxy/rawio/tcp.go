package rawio

import (
	"net"

	"golang.org/x/sys/unix"
)

// StateClosed is the State in a TCPInfo of a connection that the kernel has given up, as after a reset: TCP_CLOSE of
// linux/tcp_states.h.
const StateClosed = 7

// TCP finds the TCP connection that a connection is, or that is below its TLS; nil: there is none.
func TCP(conn net.Conn) *net.TCPConn {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	tcp, _ := conn.(*net.TCPConn)
	return tcp
}

// Info is what the kernel knows of a connection; nil when it is closed here, or no TCP.
func Info(conn net.Conn) *unix.TCPInfo {
	tcp := TCP(conn)
	if tcp == nil {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	var info *unix.TCPInfo
	_ = raw.Control(func(fd uintptr) {
		info, _ = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
	})
	return info
}

// Reset closes a connection such that the other side cannot take it for an orderly end: without what waits to be
// sent, and without a word of TLS.
func Reset(conn net.Conn) {
	if tcp := TCP(conn); tcp != nil {
		_ = tcp.SetLinger(0)
		conn = tcp
	}
	_ = conn.Close()
}
