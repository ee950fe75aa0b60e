package transfer

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
)

// Blob opens a blob of the repository from an offset on. The bytes are not
// verified. A connection on which nothing comes for long is given up.
func (l *Line) Blob(ctx context.Context, d digest.Digest, off int64) (io.ReadCloser, error) {
	h := http.Header{}
	if off > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	resp, err := l.Do(ctx, http.MethodGet, l.Path("blobs/%s", d), h, nil, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	idle := newPulse(l.Patience.Idle, func() { cancel(errIdle) })
	body := &watched{r: resp.Body, each: idle.beat}
	b := &blobBody{Reader: body, close: func() error {
		idle.stop()
		defer cancel(nil)
		return resp.Body.Close()
	}}
	err = begins(resp, off)
	if resp.StatusCode == http.StatusOK && off > 0 {
		_, err = io.CopyN(io.Discard, body, off)
	}
	if err != nil {
		b.Close()
		return nil, cut(err)
	}
	return b, nil
}

type blobBody struct {
	io.Reader
	close func() error
}

func (b *blobBody) Close() error { return b.close() }
