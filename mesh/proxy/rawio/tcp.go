package rawio

import "net"

// TCP finds the TCP connection that a connection is, or that is below its TLS; nil: there is none.
func TCP(conn net.Conn) *net.TCPConn {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	tcp, _ := conn.(*net.TCPConn)
	return tcp
}
