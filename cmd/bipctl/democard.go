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
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bipd/cat"
	"bipd/softuicc"
	"bipd/trace"
)

// cardJob is what the software UICC of one download has to do.
type cardJob struct {
	reader string // socket of the reader into which the card is put
	method trace.Method
	scheme string
	server netip.Addr
	roots  *x509.CertPool
	size   int
	sum    [32]byte
	settle func() // waits until the terminal has nothing left to do for the applet; then the card leaves
}

// bearer is the one by which a handset's routing takes the method.
func (j cardJob) bearer() cat.BearerDescription {
	if j.method == trace.Method1 {
		return cat.BearerDescription{Type: cat.BearerPacket, Parameters: []byte{0x03, 0x04, 0x03, 0x04, 0x1F, 0x02}}
	}
	return cat.BearerDescription{Type: cat.BearerWLAN}
}

// runCard makes a card with one applet that downloads the file, puts it into the reader, and takes it out when the
// applet has ended. What the card's judge finds against the terminal is an error.
func runCard(ctx context.Context, j cardJob) (result, error) {
	r := result{method: j.method, scheme: j.scheme}
	card, err := softuicc.New(softuicc.Config{Name: "demo", Applets: []softuicc.Applet{
		func(ctx context.Context, tk *softuicc.Toolkit) error { return j.download(ctx, tk, &r) },
	}})
	if err != nil {
		return r, err
	}
	conn, err := net.Dial("unix", j.reader)
	if err != nil {
		return r, fmt.Errorf("putting the card in: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- softuicc.ServeVPCD(ctx, conn, card) }()
	err = card.Wait(ctx)
	j.settle()
	cancel()
	<-served
	for _, v := range card.Violations() {
		err = errors.Join(err, fmt.Errorf("terminal against the specification: %v", v))
	}
	return r, err
}

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
	started := time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	sum := sha256.New()
	bar := newProgress(fmt.Sprintf("  %v %-5s", j.method, j.scheme), j.size)
	n, err := io.Copy(io.MultiWriter(sum, bar), resp.Body)
	r.bytes, r.took = int(n), time.Since(started)
	bar.done()
	switch {
	case err != nil:
		return err
	case [32]byte(sum.Sum(nil)) != j.sum:
		return fmt.Errorf("SHA-256 of the %d bytes downloaded differs", n)
	}
	return nil
}

// progress is a bar on the terminal that shows how far a download is. Where standard output is no terminal, only its last state is shown.
type progress struct {
	label    string
	total, n int
	started  time.Time
	shown    time.Time
	live     bool
}

func newProgress(label string, total int) *progress {
	_, err := unix.IoctlGetTermios(int(os.Stdout.Fd()), unix.TCGETS)
	return &progress{label: label, total: total, started: time.Now(), live: err == nil}
}

const (
	barWidth  = 30
	barPeriod = 100 * time.Millisecond
)

// Write counts.
func (p *progress) Write(b []byte) (int, error) {
	p.n += len(b)
	if p.live && time.Since(p.shown) >= barPeriod {
		p.shown = time.Now()
		fmt.Print("\r" + p.String())
	}
	return len(b), nil
}

func (p *progress) String() string {
	filled := barWidth * min(p.n, p.total) / p.total
	return fmt.Sprintf("%s [%s%s] %d of %d bytes, %s ", p.label, strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled),
		p.n, p.total, rate(p.n, time.Since(p.started)))
}

func (p *progress) done() {
	if p.live {
		fmt.Print("\r")
	}
	fmt.Println(p.String())
}

// terminalWidth is that of standard output; 100 where it is no terminal.
func terminalWidth() int {
	ws, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 {
		return 100
	}
	return int(ws.Col)
}
