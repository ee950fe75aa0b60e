package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ErrTooLarge is a document that is not small.
var ErrTooLarge = errors.New("it is too large")

// Document reads something small whole, and the headers of the answer. One that
// breaks off is asked for again.
func (l *Line) Document(ctx context.Context, path string, header http.Header, most int64) ([]byte, http.Header, error) {
	for try := 1; ; try++ {
		raw, h, err := l.document(ctx, path, header, most)
		var short *shortError
		if try >= tries || ctx.Err() != nil || !errors.As(err, &short) {
			return raw, h, err
		}
	}
}

// shortError is an answer that broke off.
type shortError struct{ error }

func (e *shortError) Unwrap() error { return e.error }

func (l *Line) document(ctx context.Context, path string, header http.Header, most int64) ([]byte, http.Header, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := l.Do(ctx, http.MethodGet, path, header, nil, http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	idle := newPulse(l.Patience.Idle, func() { cancel(errIdle) })
	defer idle.stop()
	raw, err := io.ReadAll(io.LimitReader(&watched{r: resp.Body, each: idle.beat}, most+1))
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errIdle):
		return nil, nil, &shortError{errIdle}
	case err != nil:
		return nil, nil, &shortError{err}
	case int64(len(raw)) > most:
		return nil, nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, most)
	}
	return raw, resp.Header, nil
}
