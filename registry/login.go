package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/hodbuild/hod/registry/auth"
	"github.com/hodbuild/hod/registry/transfer"
)

// Kept is what became of a login.
type Kept struct {
	Where   string // the credential is now, in words
	Unasked bool   // the registry lets in whoever comes: nobody looked at the password
}

// Login asks the registry whether the credential is right, then saves it where
// Docker does: in the helper that config.json names, else in config.json. What is
// logged in to is a registry, or a folder of its repositories ("host/team").
func (c *Client) Login(ctx context.Context, at, user, password string) (Kept, error) {
	cred := auth.Credential{User: user, Password: password}
	asked, err := c.checkLogin(ctx, at, cred)
	if err != nil {
		return Kept{}, fmt.Errorf("log in to %s: %w", at, err)
	}
	where, err := c.auth.Save(ctx, at, cred)
	return Kept{where, !asked}, err
}

// LoggedIn gives the user whose credential is kept for a registry and still right;
// empty if there is none.
func (c *Client) LoggedIn(ctx context.Context, at string) (user string, err error) {
	host, folder, _ := strings.Cut(at, "/")
	cred, err := c.auth.Lookup(ctx, host, folder)
	if err != nil || cred.User == "" {
		return "", err
	}
	if _, err := c.checkLogin(ctx, host, cred); errors.Is(err, errWrongLogin) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("log in to %s: %w", at, err)
	}
	return cred.User, nil
}

var errWrongLogin = errors.New("the user name or the password is wrong")

// checkLogin makes one request with the credential, and tells whether the registry
// wanted one.
func (c *Client) checkLogin(ctx context.Context, at string, cred auth.Credential) (asked bool, err error) {
	host, _, _ := strings.Cut(at, "/")
	c.mu.Lock()
	ends, err := c.endpoints(host)
	c.mu.Unlock()
	if err != nil {
		return false, err
	}
	end := ends[len(ends)-1]
	var opts []name.Option
	if end.scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(end.host, opts...)
	if err != nil {
		return false, err
	}
	ctx = shakingHands(ctx)
	challenge, err := transport.Ping(ctx, reg, end.rt)
	if err != nil {
		return false, dialError(host, err)
	}
	asked = challenge.Scheme != ""
	t, err := transport.NewWithContext(ctx, reg, cred.Authenticator(), end.rt, nil)
	if err != nil { // a server of tokens looks at the password before the registry does
		return asked, loginError(host, err)
	}
	return asked, c.knock(ctx, t, host, end.scheme+"://"+reg.RegistryStr()+"/v2/")
}

// loginError tells a password that is wrong from other refusals.
func loginError(host string, err error) error {
	err = dialError(host, err)
	if s := transfer.Status(err); s == http.StatusUnauthorized || s == http.StatusForbidden {
		return fmt.Errorf("%w (%w)", errWrongLogin, err)
	}
	return err
}

// knock asks for a registry's base with a credential.
func (c *Client) knock(ctx context.Context, t http.RoundTripper, host, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return loginError(host, err)
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		resp.Body.Close()
		return errWrongLogin
	}
	if resp.StatusCode != http.StatusOK {
		return c.patience.Refusal(http.MethodGet, resp)
	}
	return resp.Body.Close()
}

// Logout forgets the credential of a registry, or of a folder of its repositories,
// and tells whether there was one.
func (c *Client) Logout(ctx context.Context, at string) (bool, error) {
	return c.auth.Erase(ctx, at)
}
