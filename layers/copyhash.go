package layers

import (
	"context"
	"hash"
	"io"
)

// CopyHashed copies r to w and hashes what passes. The hashing, which costs the
// most, runs beside: while a piece is hashed the one before is written and the
// next one read. It tells how many bytes were written; what was hashed is whole
// when it returns, and after an error may be more than that by one piece.
func CopyHashed(ctx context.Context, w io.Writer, r io.Reader, h hash.Hash) (int64, error) {
	const pieces, size = 4, 256 << 10
	free, full := make(chan []byte, pieces), make(chan []byte, pieces)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p := range full {
			h.Write(p)
			free <- p[:cap(p)]
		}
	}()
	n, err := copyPieces(ctx, w, r, func(i int) []byte {
		if i < pieces {
			return make([]byte, size)
		}
		return <-free
	}, full)
	close(full)
	<-done
	return n, err
}

// copyPieces reads into the buffers that next gives, hands each to full, and
// writes it.
func copyPieces(ctx context.Context, w io.Writer, r io.Reader, next func(i int) []byte, full chan<- []byte) (int64, error) {
	var n int64
	for i := 0; ; i++ {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		p := next(i)
		k, err := readFull(r, p)
		if k > 0 {
			full <- p[:k]
			if _, werr := w.Write(p[:k]); werr != nil {
				return n, werr
			}
			n += int64(k)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// readFull fills p unless r ends before, and keeps r's own error: an end that came
// too early is not an end.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = r.Read(p[n:])
		n += k
	}
	return n, err
}
