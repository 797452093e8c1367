package bip_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"bipd/cat"
	"bipd/softuicc"
)

// TestDownload has an applet download 1 MiB with Go's own HTTP client, over plain HTTP and over TLS.
func TestDownload(t *testing.T) {
	file := make([]byte, 1<<20)
	rand.Read(file)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(file) })
	for _, scheme := range []string{"http", "https"} {
		for name, qualifier := range map[string]byte{"immediate": cat.OpenImmediate, "background": cat.OpenImmediate | cat.OpenBackground, "on demand": 0} {
			t.Run(scheme+"/"+name, func(t *testing.T) {
				srv := httptest.NewUnstartedServer(handler)
				if scheme == "https" {
					srv.StartTLS()
				} else {
					srv.Start()
				}
				defer func() {
					srv.CloseClientConnections() // Close waits for them
					srv.Close()
				}()
				applet := func(ctx context.Context, tk *softuicc.Toolkit) error {
					tr := srv.Client().Transport.(*http.Transport).Clone()
					tr.DialContext = tk.Dialer(softuicc.DialParams{Qualifier: qualifier})
					defer tr.CloseIdleConnections()
					req, err := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
					if err != nil {
						return err
					}
					resp, err := tr.RoundTrip(req)
					if err != nil {
						return err
					}
					defer resp.Body.Close()
					h := sha256.New()
					if _, err := io.Copy(h, resp.Body); err != nil {
						return err
					}
					if [32]byte(h.Sum(nil)) != sha256.Sum256(file) {
						return fmt.Errorf("downloaded bytes differ")
					}
					return nil
				}
				run(t, options{router: kernel(nil), applets: []softuicc.Applet{applet}})
			})
		}
	}
}
