//go:build linux

package runner

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Frames go between a monitor and those who attach to its container: one byte
// that says what it is, four that give the length, and the payload.
const (
	frameStdin  = 'i' // client: bytes typed
	frameEOF    = 'e' // client: standard input ended
	frameResize = 'w' // client: rows, columns
	frameSignal = 's' // client: a signal number for the process
	frameStdout = 'o' // monitor: bytes written
	frameStderr = 'r'
	frameExit   = 'x' // monitor: the exit code; the last frame
)

// frameMax bounds a payload: a monitor takes no client's word for a length.
const frameMax = 64 << 10

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	buf := make([]byte, 5, 5+len(payload))
	buf[0] = kind
	binary.BigEndian.PutUint32(buf[1:], uint32(len(payload)))
	_, err := w.Write(append(buf, payload...))
	return err
}

func readFrame(r io.Reader, buf []byte) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > frameMax || int(n) > len(buf) {
		return 0, nil, fmt.Errorf("attach: frame of %d bytes", n)
	}
	_, err = io.ReadFull(r, buf[:n])
	return head[0], buf[:n], err
}

func twoNumbers(a, b uint16) []byte {
	p := binary.BigEndian.AppendUint16(nil, a)
	return binary.BigEndian.AppendUint16(p, b)
}
