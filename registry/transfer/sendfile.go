package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// lookEvery is how often it is looked how far the kernel is.
const lookEvery = 20 * time.Millisecond

// streamFile sends a request whose body is the rest of a file. The transport is
// given the file itself, and without TLS the kernel sends it.
func (u *Upload) streamFile(ctx context.Context, c Filed, method, url string, h http.Header) (int64, *http.Response, error) {
	f, err := c.File()
	if err == nil {
		_, err = f.Seek(u.offset, io.SeekStart)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errContent, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	at, stop := u.look(f, func() { cancel(errIdle) })
	body := func() (io.Reader, int64, error) { return f, u.Blob.Size - u.offset, nil }
	resp, err := u.Line.Once(ctx, method, url, h, body)
	stop()
	f.Close() // the transport did, or never began
	if err != nil {
		if errors.Is(context.Cause(ctx), errIdle) {
			err = errIdle
		}
		cancel(nil)
		return at() - u.offset, nil, err
	}
	resp.Body = &ending{resp.Body, func() { cancel(nil) }}
	return u.Blob.Size - u.offset, resp, nil
}

// look tells from time to time how far a file was read, and calls idle when nothing
// more is taken for too long before its end.
func (u *Upload) look(f *os.File, idle func()) (at func() int64, stop func()) {
	last, quit, done := u.offset, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		moved := time.Now()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			now, err := f.Seek(0, io.SeekCurrent)
			if err != nil || now >= u.Blob.Size {
				return // all is sent: from here on it is the registry that works
			}
			if now > last {
				last, moved = now, time.Now()
				u.Event(Step{Action: "upload", Sent: last, Size: u.Blob.Size})
			}
			if time.Since(moved) > u.Line.Patience.Idle {
				idle()
				return
			}
		}
	}()
	stop = func() {
		close(quit)
		<-done
	}
	return func() int64 { return last }, stop
}
