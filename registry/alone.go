package registry

import (
	"context"
	"io"
	"net/http"
)

// alone sends a request under a context of its own, which ends with the request's and
// does not say why.
//
// net/http puts a connection back among the free ones beside the request that had it. A
// request that is canceled at that moment closes the connection, perhaps under the next
// one that was just given it, and that one fails with the cause of a cancellation that is none of
// its own (persistConn.canceledErr of Go 1.26): a push with the refusal that an earlier
// push had met. So no cause goes out on the wire. What fails as if it had been canceled,
// and was not, is tried again like any broken connection.
func alone(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(req.Context()))
	stop := context.AfterFunc(req.Context(), cancel)
	end := func() {
		stop()
		cancel()
	}
	resp, err := rt.RoundTrip(req.WithContext(ctx))
	if err != nil {
		end()
		if cause := context.Cause(req.Context()); cause != nil {
			err = cause
		}
		return nil, err
	}
	resp.Request, resp.Body = req, &bodyAlone{resp.Body, end}
	return resp, nil
}

// bodyAlone ends the context of its request when it is closed.
type bodyAlone struct {
	io.ReadCloser
	end func()
}

func (b *bodyAlone) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
