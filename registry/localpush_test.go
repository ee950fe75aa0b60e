package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hodbuild/hod/registry/server"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestPushOntoTheStoresImages pushes into a repository that shows an image of the store:
// what it shows need not be sent, and becomes its own.
func TestPushOntoTheStoresImages(t *testing.T) {
	inner := server.New(openStore(t), server.Options{})
	pushImage(t, inner, "app", 60000, 3000)
	home := httptest.NewServer(inner)
	defer home.Close()
	ctx, store, name := context.Background(), openStore(t), strings.TrimPrefix(home.URL, "http://")+"/app:latest"
	desc, err := patient().PullPlatforms(ctx, store, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	shows := server.New(store, server.Options{Local: true})
	up := &upward{inner: shows}
	front := httptest.NewServer(up)
	defer front.Close()
	host, c, mine := strings.TrimPrefix(front.URL, "http://"), patient(), openStore(t)
	if _, err := c.PullPlatforms(ctx, mine, host+"/app:latest", nil); err != nil {
		t.Fatal(err)
	}
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ocispec.MediaTypeImageIndex, desc.MediaType, desc.Digest, desc.Size)
	send(t, shows, http.MethodPut, "/v2/app/manifests/list", ocispec.MediaTypeImageIndex, index)
	if _, err := c.PushAs(ctx, mine, host+"/app:latest", host+"/app:2", PushOptions{}); err != nil {
		t.Error(err)
	}
	if up.bytes.Load() > 3000 { // a manifest
		t.Errorf("%d bytes were sent", up.bytes.Load())
	}
	if err := store.Untag(ctx, name); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"2", "list"} {
		if _, err := patient().PullPlatforms(ctx, openStore(t), host+"/app:"+tag, nil); err != nil {
			t.Errorf("without the store's own name: %v", err)
		}
	}
}
