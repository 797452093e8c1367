package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"bipd/softuicc"
	"bipd/trace"
)

// browser is Go's HTTP client on a card.
type browser struct {
	http.Client
	channels []net.Conn // that it has opened
}

// newBrowser makes a client whose connections are BIP channels.
func newBrowser(s *stand, tk *softuicc.Toolkit, web *webServer) *browser {
	b := &browser{}
	dial := tk.Dialer(s.dial(background))
	b.Transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err == nil {
				b.channels = append(b.channels, conn)
			}
			return conn, err
		},
		TLSClientConfig: &tls.Config{RootCAs: web.roots},
	}
	return b
}

// close closes the channels as the demonstration does: the card first.
func (b *browser) close() {
	for _, c := range b.channels {
		c.Close()
	}
	b.CloseIdleConnections()
}

// get gives what the server answers with the status wanted; ranges are "" or as "0-99".
func (b *browser) get(ctx context.Context, url, ranges string, status int) ([]byte, *tls.ConnectionState, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	if ranges != "" {
		req.Header.Set("Range", "bytes="+ranges)
	}
	resp, err := b.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return body, resp.TLS, err
}

// same compares by SHA-256, as the demonstration does.
func same(got, want []byte) error {
	if g, w := sha256.Sum256(got), sha256.Sum256(want); g != w {
		return fmt.Errorf("%d bytes with SHA-256 %x, want %d with %x", len(got), g, len(want), w)
	}
	return nil
}

func TestNginx(t *testing.T) {
	needNamespaces(t)
	path, err := findNginx()
	need(t, path, err)
	eachMethod(t, nil, func(s *stand) {
		size := 300 << 10
		if s.net.method == trace.Method2 {
			size = 4 << 20
		}
		s.browse(path, size)
	})
}

// The server that stands in for nginx does the same.
func TestEmbeddedServer(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	newStand(t, trace.Method1, nil).browse("", 260_000)
}

func (s *stand) browse(nginx string, size int) {
	s.Helper()
	file := make([]byte, size)
	rand.Read(file)
	web, err := startWeb(context.WithoutCancel(s.ctx), s.net.internet, s.dir, file, nginx)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(web.close)
	s.useThrough(func(ctx context.Context, tk *softuicc.Toolkit) error { return keepAlive(ctx, s, tk, web, file) })
	s.useThrough(func(ctx context.Context, tk *softuicc.Toolkit) error { return tls13(ctx, s, tk, web, file) })
}

// keepAlive asks for two ranges, and for what is not there, on one channel.
func keepAlive(ctx context.Context, s *stand, tk *softuicc.Toolkit, web *webServer, file []byte) error {
	b := newBrowser(s, tk, web)
	defer b.close()
	url := fmt.Sprintf("http://%v/file", s.net.server)
	first, _, err := b.get(ctx, url, "0-49999", http.StatusPartialContent)
	if err != nil {
		return err
	}
	if _, _, err := b.get(ctx, url+"-not", "", http.StatusNotFound); err != nil {
		return err
	}
	second, _, err := b.get(ctx, url, "50000-250000", http.StatusPartialContent)
	if err != nil {
		return err
	}
	if len(b.channels) != 1 {
		return fmt.Errorf("%d channels for requests that keep their connection", len(b.channels))
	}
	return same(bytes.Join([][]byte{first, second}, nil), file[:250001])
}

// tls13 gets the whole file through TLS 1.3, which ends in the card.
func tls13(ctx context.Context, s *stand, tk *softuicc.Toolkit, web *webServer, file []byte) error {
	b := newBrowser(s, tk, web)
	defer b.close()
	got, state, err := b.get(ctx, fmt.Sprintf("https://%v/file", s.net.server), "", http.StatusOK)
	switch {
	case err != nil:
		return err
	case state == nil || state.Version != tls.VersionTLS13 || !state.HandshakeComplete:
		return fmt.Errorf("connection state %+v, want TLS 1.3", state)
	case len(state.VerifiedChains) != 1 || state.VerifiedChains[0][0].Subject.CommonName != "BIP demonstration":
		return fmt.Errorf("the server is not proven by its certificate: %v", state.VerifiedChains)
	}
	return same(got, file)
}
