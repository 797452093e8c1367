package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"bipd/internal/control"
	"bipd/internal/netbed"
	"bipd/softuicc"
	"bipd/trace"
)

func demoCommand() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "A software UICC downloads a file by both methods, in network namespaces",
		Long: `demo makes three network namespaces, for the CP, the AP and the internet, runs
bipd, apd and a web server (nginx where it is installed) in them, and has a
software UICC download a file over the Bearer Independent Protocol: by method 1
and by method 2, over HTTP and over HTTPS. It compares the SHA-256 of each
download, shows the ladder of each method, and fails on any difference.

It needs no root where the system lets users make user namespaces.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := netbed.Reexec(); err != nil {
				return err
			}
			d.screen = stdout()
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&d.bin, "bin", "", "directory of bipd and apd (default: that of bipctl)")
	cmd.Flags().IntVar(&d.size, "size", 1<<20, "octets of the file")
	cmd.Flags().StringVar(&d.html, "html", "", "write the ladders as HTML pages into this directory")
	cmd.Flags().BoolVar(&d.keep, "keep", false, "keep the directory with configurations and logs")
	return cmd
}

// demo is one run of the demonstration.
type demo struct {
	bin, html string
	size      int
	keep      bool
	screen    screen

	dir  string // configurations, logs and sockets
	file []byte // what is downloaded
	sum  [32]byte
}

// demoTime bounds the whole demonstration.
const demoTime = 100 * time.Second

func (d *demo) run(user context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(user, demoTime, errors.New("the demonstration took too long"))
	defer cancel()
	if d.size < 1 || d.size > 256<<20 {
		return fmt.Errorf("--size: %d is not 1 to %d octets", d.size, 256<<20)
	}
	if err := d.prepare(); err != nil {
		return err
	}
	defer func() {
		if d.keep || err != nil && user.Err() == nil {
			fmt.Fprintln(d.screen, "configurations and logs are in", d.dir)
		} else {
			os.RemoveAll(d.dir)
		}
	}()
	return d.compare(ctx)
}

// compare downloads by both methods, and shows all results at the end.
func (d *demo) compare(ctx context.Context) error {
	var results []result
	for _, m := range []trace.Method{trace.Method1, trace.Method2} {
		r, err := d.runMethod(ctx, m)
		if ctx.Err() != nil {
			return fmt.Errorf("%v: %w", m, context.Cause(ctx))
		}
		if err != nil {
			return fmt.Errorf("%v: %w", m, err)
		}
		results = append(results, r...)
	}
	fmt.Fprintln(d.screen)
	for _, r := range results {
		fmt.Fprintln(d.screen, r)
	}
	return nil
}

// prepare finds the daemons and makes the directory and the file.
func (d *demo) prepare() error {
	if d.bin == "" {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		d.bin = filepath.Dir(exe)
	}
	for _, name := range []string{"bipd", "apd"} {
		if _, err := exec.LookPath(filepath.Join(d.bin, name)); err != nil {
			return fmt.Errorf("%w (build it with: make)", err)
		}
	}
	if d.html != "" {
		if err := os.MkdirAll(d.html, 0o777); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "bip-demo-")
	if err != nil {
		return err
	}
	d.dir = dir
	d.file = make([]byte, d.size)
	rand.Read(d.file)
	d.sum = sha256.Sum256(d.file)
	return nil
}

// runMethod makes the three hosts, runs the daemons and downloads over each scheme by one method.
func (d *demo) runMethod(ctx context.Context, m trace.Method) ([]result, error) {
	bed, err := netbed.New(ctx)
	if err != nil {
		return nil, err
	}
	defer bed.Close()
	n, err := newNet(bed, m)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(d.dir, fmt.Sprintf("m%d", m))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	nginx, _ := findNginx() // without it the embedded server does
	web, err := startWeb(ctx, n.internet, dir, d.file, nginx)
	if err != nil {
		return nil, fmt.Errorf("web server: %w", err)
	}
	defer web.close()
	if err := n.describe(d.screen, web.name); err != nil {
		return nil, err
	}
	t, err := startTerminal(ctx, d.bin, dir, n, demoConfigs(dir))
	if err != nil {
		return nil, err
	}
	defer t.close()
	var results []result
	for _, scheme := range []string{"http", "https"} {
		r, err := d.download(ctx, t, n, web, m, scheme)
		if err != nil {
			return results, errors.Join(fmt.Errorf("%s: %w", scheme, err), t.lastWords())
		}
		results = append(results, r)
	}
	return results, n.verify()
}

// download puts a card in that downloads the file once, and shows how.
func (d *demo) download(ctx context.Context, t *terminalProcess, n *network, web *webServer, m trace.Method, scheme string) (result, error) {
	rec, err := record(ctx, t.sockets()...)
	if err != nil {
		return result{}, err
	}
	job := cardJob{method: m, scheme: scheme, server: n.server, roots: web.roots, size: d.size, sum: d.sum, screen: d.screen}
	r := result{method: m, scheme: scheme}
	err = useCard(ctx, t.reader, func() { rec.settle(m) }, func(ctx context.Context, tk *softuicc.Toolkit) error {
		return job.download(ctx, tk, &r)
	})
	events := rec.stop()
	if err != nil {
		return result{}, errors.Join(t.ended(err), err)
	}
	if err := trace.CheckOrder(events, m, 1); err != nil {
		return result{}, fmt.Errorf("the steps are not those of %v: %w", m, err)
	}
	html := ""
	if d.html != "" {
		html = filepath.Join(d.html, fmt.Sprintf("method%d-%s.html", m, scheme))
	}
	return r, writeLadders(d.screen, steps(events), scheme == "http", html)
}

// result is one download.
type result struct {
	method trace.Method
	scheme string
	bytes  int
	took   time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("%v  %-5s  %d bytes  %s  sha256 ok", r.method, r.scheme, r.bytes, rate(r.bytes, r.took))
}

// recording keeps the events of the daemons.
type recording struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	events []trace.Event
	more   chan struct{} // closed, and made anew, with each event
}

// record begins to keep the events of the daemons at the sockets. It returns once none can be missed.
func record(ctx context.Context, sockets ...string) (*recording, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &recording{cancel: cancel, more: make(chan struct{})}
	ready := make(chan error, 2*len(sockets))
	for _, s := range sockets {
		r.wg.Go(func() {
			err := control.NewClient(s).Events(ctx, func() { ready <- nil }, func(e trace.Event) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.events = append(r.events, e)
				close(r.more)
				r.more = make(chan struct{})
			})
			if err == nil {
				err = errors.New("the daemon ended")
			}
			ready <- fmt.Errorf("%s: %w", s, err)
		})
	}
	for range sockets {
		if err := <-ready; err != nil {
			cancel()
			r.wg.Wait()
			return nil, err
		}
	}
	return r, nil
}

// settleTime bounds how long a closed channel may still have messages to exchange with the server.
const settleTime = 20 * time.Second

// settle waits, for a bounded time, until every step of the method has come, and all messages of its last one. The
// daemons' events come by two ways, and the last step's may be the faster.
func (r *recording) settle(m trace.Method) {
	table := m.Steps()
	last := table[len(table)-1].Name
	missing := make(map[string]int)
	for _, s := range table {
		if missing[s.Name]++; s.Name != last {
			missing[s.Name] = 1
		}
	}
	r.until(settleTime, func(since []trace.Event) bool {
		for _, e := range since {
			if missing[e.Step]--; missing[e.Step] <= 0 {
				delete(missing, e.Step)
			}
		}
		return len(missing) == 0
	})
}

// until waits, for a bounded time, until enough has happened. It calls enough with the events since its last call.
func (r *recording) until(limit time.Duration, enough func(since []trace.Event) bool) bool {
	timeout := time.After(limit)
	for seen := 0; ; {
		r.mu.Lock()
		since := r.events[seen:]
		seen = len(r.events)
		more := r.more
		r.mu.Unlock()
		if enough(since) {
			return true
		}
		select {
		case <-more:
		case <-timeout:
			return false
		}
	}
}

// stop ends the recording and returns the events in order of time.
func (r *recording) stop() []trace.Event {
	r.cancel()
	r.wg.Wait()
	return trace.Merge(r.events)
}
