// Package rawio receives from and sends to sockets without waiting, and without telling Go's scheduler, which
// costs as much as the shortest of these calls. The descriptor must be held while they run, as it is in the
// callbacks of a syscall.RawConn. It also tells of the TCP connection below another one, and resets it.
package rawio

import (
	"syscall"
	"unsafe"
)

// Receive reads what is there into p without waiting: EAGAIN when there is nothing, 0 bytes at the end.
func Receive(fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), flags|syscall.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// Send writes what the kernel takes of p without waiting: EAGAIN when that is nothing.
func Send(fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), flags|syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}
