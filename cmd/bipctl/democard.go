package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"bipd/cat"
	"bipd/softuicc"
	"bipd/trace"
)

// cardJob is what the software UICC of one download has to do.
type cardJob struct {
	method trace.Method
	scheme string
	server netip.Addr
	roots  *x509.CertPool
	size   int
	sum    [32]byte
	screen screen
}

// bearer is the one by which a handset's routing takes the method.
func (j cardJob) bearer() cat.BearerDescription {
	if j.method == trace.Method1 {
		return cat.BearerDescription{Type: cat.BearerPacket, Parameters: []byte{0x03, 0x04, 0x03, 0x04, 0x1F, 0x02}}
	}
	return cat.BearerDescription{Type: cat.BearerWLAN}
}

// powerOffTime bounds how long an applet whose card has lost its power may take to end. It passes in full where the applet
// had not begun.
const powerOffTime = 5 * time.Second

// useCard makes a card with one applet, puts it into the reader at the socket, and takes it out when the applet has
// ended and the terminal has settled what that left to do. What the card's judge finds against the terminal is an error.
func useCard(ctx context.Context, reader string, settle func(), applet softuicc.Applet) error {
	ended := make(chan error, 1)
	card, err := softuicc.New(softuicc.Config{Name: "demo", Applets: []softuicc.Applet{
		func(ctx context.Context, tk *softuicc.Toolkit) error {
			err := applet(ctx, tk)
			ended <- err
			return err
		},
	}})
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", reader)
	if err != nil {
		return fmt.Errorf("putting the card in: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	served := make(chan struct{})
	go func() {
		defer close(served)
		err := softuicc.ServeVPCD(ctx, conn, card)
		cancel(errors.Join(errReaderGone, err))
	}()
	select {
	case err = <-ended:
		if err == nil { // after a failure there is nothing to come
			settle()
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
		card.Close() // which ends the applet's context
		select {
		case <-ended:
		case <-time.After(powerOffTime): // it had not begun, and will not any more
		}
	}
	cancel(nil)
	<-served
	for _, v := range card.Violations() {
		err = errors.Join(err, fmt.Errorf("terminal against the specification: %v", v))
	}
	return err
}

// errReaderGone says that bipd has closed the reader under the card.
var errReaderGone = errors.New("the reader has let the card go")

// download is the applet: Go's own HTTP client over a BIP channel.
func (j cardJob) download(ctx context.Context, tk *softuicc.Toolkit, r *result) error {
	dial := tk.Dialer(softuicc.DialParams{
		Bearer: j.bearer(), BufferSize: 1400, Qualifier: cat.OpenImmediate | cat.OpenBackground, NetworkAccessName: "internet",
	})
	var channel net.Conn
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			channel, err = dial(ctx, network, address)
			return channel, err
		},
		TLSClientConfig: &tls.Config{RootCAs: j.roots, MinVersion: tls.VersionTLS13},
	}
	defer func() { // the channel first: after a TLS close alert the server would close it before the card does
		if channel != nil {
			channel.Close()
		}
		transport.CloseIdleConnections()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s://%s/file", j.scheme, j.server), nil)
	if err != nil {
		return err
	}
	bar := newProgress(j.screen, fmt.Sprintf("  %v %-5s", j.method, j.scheme), j.size)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(sum, bar), resp.Body)
	r.bytes, r.took = int(n), time.Since(bar.started)
	bar.done()
	switch {
	case err != nil:
		return err
	case [32]byte(sum.Sum(nil)) != j.sum:
		return fmt.Errorf("SHA-256 of the %d bytes downloaded differs", n)
	}
	return nil
}
