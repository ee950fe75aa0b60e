package layers

import "os"

// outwardPiece is how much of a file goes to the disk at a time, while it is written.
const outwardPiece = 8 << 20

// outward is a file that is written from its start. What is there is already on
// its way to the disk while the rest still comes: the sync that makes the file
// durable, for which a command waits, has little left to do. It promises nothing.
type outward struct {
	f        *os.File
	n, begun int64 // bytes that are there, and that were sent on
}

func (o *outward) Write(p []byte) (int, error) {
	n, err := o.f.Write(p)
	o.grow(n)
	return n, err
}

// grow says that n bytes more are there.
func (o *outward) grow(n int) {
	o.n += int64(n)
	if o.n-o.begun >= outwardPiece {
		beginWriting(o.f, o.begun, o.n-o.begun)
		o.begun = o.n
	}
}
