package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A StatusError is a registry's refusal.
type StatusError struct {
	Status int
	Method string
	URL    string
	Code   string        // what the registry calls it: "BLOB_UNKNOWN"
	Detail string        // what the registry says, shortened
	After  time.Duration // when the registry wants to be asked again; 0 if it does not say
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// FinalError is a failure that no other try would mend.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return e.Err.Error() }
func (e *FinalError) Unwrap() error { return e.Err }

// Status tells the status of a refusal that is in err, or 0.
func Status(err error) int {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Status
	}
	return 0
}

// maxRefusal bounds what is read of a refusal.
const maxRefusal = 64 << 10

// ReadSome reads a small body and closes it: at most so many bytes of it, and no longer
// than a connection may rest.
func (p Patience) ReadSome(body io.ReadCloser, most int64) ([]byte, error) {
	late := time.AfterFunc(p.Idle, func() { body.Close() })
	raw, err := io.ReadAll(io.LimitReader(body, most))
	if !late.Stop() {
		err = errIdle
	}
	body.Close()
	return raw, err
}

// Refusal reads a little of an answer, closes it and makes an error of it.
func (p Patience) Refusal(method string, resp *http.Response) error {
	raw, _ := p.ReadSome(resp.Body, maxRefusal)
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	u := *resp.Request.URL
	u.RawQuery = ""
	e := &StatusError{Status: resp.StatusCode, Method: method, URL: u.Redacted(), After: retryAfter(resp.Header.Get("Retry-After"))}
	if json.Unmarshal(raw, &doc) == nil && len(doc.Errors) > 0 {
		e.Code = Printable(doc.Errors[0].Code)
		e.Detail = Printable(strings.Trim(doc.Errors[0].Code+": "+doc.Errors[0].Message, ": "))
	}
	return e
}

// retryAfter reads seconds or a date.
func retryAfter(s string) time.Duration {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		return time.Duration(min(n, 86400)) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// Printable keeps a registry's words from steering the terminal, and short.
func Printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 300)]
}

// retry says whether an error may pass, and how long to wait. Who was canceled does not
// ask.
func (p Patience) retry(err error, try int) (time.Duration, bool) {
	var final *FinalError
	if try >= tries || errors.As(err, &final) {
		return 0, false
	}
	wait := min(p.Pause<<(try-1), p.Limit/2)
	wait = wait/2 + rand.N(wait/2+1)
	var status *StatusError
	if errors.As(err, &status) {
		return min(max(status.After, wait), p.Limit), passing(status.Status)
	}
	return wait, transient(err)
}

// passing tells of statuses that may be another one next time.
func passing(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout ||
		status >= 500 && status != http.StatusNotImplemented && status != http.StatusInsufficientStorage
}

// transient says whether a failure of the connection may not come again. A name
// that cannot be looked up is one of a host that was there: of the first
// connection to a host the client tells that it is final. One who says that he was
// canceled, though nobody canceled him, had the connection of another who was.
func transient(err error) bool {
	var dns *net.DNSError
	if errors.As(err, &dns) || errors.Is(err, context.Canceled) || errors.Is(err, errIdle) {
		return true
	}
	s := err.Error()
	for _, t := range []string{"connection reset", "EOF", "broken pipe", "connection refused", "no route to host", "network is unreachable", "timeout", "http2: server sent GOAWAY", "http2: client connection lost", "stream error", "server closed idle connection"} {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}

// After says whether an answer's status, or the failure to get one, may be another
// one next time, and how long to wait. It does not touch the body.
func (p Patience) After(resp *http.Response, err error, try int) (time.Duration, bool) {
	if err == nil {
		err = &StatusError{Status: resp.StatusCode, After: retryAfter(resp.Header.Get("Retry-After"))}
	}
	return p.retry(err, try)
}
