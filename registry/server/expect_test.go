package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestExpectContinue has clients that announce a body and wait (B5): it is asked for
// where it is wanted, and a refusal comes without it.
func TestExpectContinue(t *testing.T) {
	const text = "what is sent when it is asked for"
	d := digest.FromString(text)
	who := users(t, "app * pull,push\n")
	for name, row := range map[string]struct {
		request string
		length  int
		want    []int
	}{
		"a blob":                {"POST /v2/app/blobs/uploads/?digest=" + string(d), len(text), []int{100, 201}},
		"a blob elsewhere":      {"POST /v2/other/blobs/uploads/?digest=" + string(d), len(text), []int{401}},
		"an upload of nobody":   {"PUT /v2/app/blobs/uploads/none?digest=" + string(d), len(text), []int{404}},
		"a digest that is none": {"POST /v2/app/blobs/uploads/?digest=sha256:x", len(text), []int{400}},
		"a manifest too large":  {"PUT /v2/app/manifests/latest", 1 << 30, []int{413}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(New(openStore(t), Options{Auth: who, MaxBlob: 1 << 20}))
			defer srv.Close()
			c, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", row.request, row.length)
			answers := bufio.NewReader(c)
			for _, want := range row.want {
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Fatalf("no answer, want %d: %v", want, err)
				}
				if resp.StatusCode != want {
					t.Fatalf("%s, want %d", resp.Status, want)
				}
				if want == http.StatusContinue {
					io.WriteString(c, text)
				}
			}
		})
	}
}
