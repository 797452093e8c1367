package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bipd/cat"
	"bipd/softuicc"
)

const (
	patience  = 60 * time.Second // for what comes in less than two; the machine may be loaded
	killSeed  = 20
	killCards = 3
	// spareFiles is how many descriptors a daemon may have more than when it first had all lines up: a connection and its
	// like for each card, not one for each line that was lost.
	spareFiles = 15
)

// kills is how many times a daemon is killed: $KILLS, or few.
func kills(t *testing.T) int {
	text := os.Getenv("KILLS")
	if text == "" {
		return 8
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("KILLS=%s is no number of kills", text)
	}
	return n
}

// TestKills runs bipd and apd as they are, with three cards that load by method 2, and kills the one or the other at random.
// Each time it is started again all lines come back, every card is told that its channel is gone, by Channel status or by
// losing its power, and what the cards read is right. Nothing piles up in the daemon that lives on.
func TestKills(t *testing.T) {
	n := kills(t)
	t.Logf("%d kills, seed %d", n, killSeed)
	r := rand.New(rand.NewPCG(killSeed, 0))
	s := newKillStand(t)
	s.dialIn()
	s.start("bipd")
	s.start("apd")
	s.awaitLines()
	var back []time.Duration
	files := map[string]int{} // of the daemon, when it first had all lines up
	victim, survivor := "apd", "bipd"
	for range n {
		if r.IntN(6) == 0 { // in runs, so that the survivor sees many
			victim, survivor = survivor, victim
		}
		loading := r.IntN(4) != 0
		if loading {
			s.awaitLoading()
		}
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		// The channels that were opened before the end: a card that is just between two has none to lose.
		var opened []int64
		for _, c := range s.cards {
			opened = append(opened, c.opened.Load())
		}
		s.kill(victim)
		delete(files, victim)
		restarted := time.Now()
		s.start(victim)
		s.awaitLines()
		back = append(back, time.Since(restarted))
		for i, c := range s.cards {
			s.await(fmt.Sprintf("card %d to hear that its channel is gone", i), func() bool { return c.lost.Load() >= opened[i] })
		}
		if first, known := files[survivor]; !known {
			files[survivor] = s.files(survivor)
		} else {
			s.await(fmt.Sprintf("%s to have at most %d open files more than the %d when it first had all lines", survivor, spareFiles, first),
				func() bool { return s.files(survivor) <= first+spareFiles })
		}
	}
	s.awaitLoading()
	slices.Sort(back)
	late := 0
	for _, d := range back {
		if d > 2*time.Second {
			late++
		}
	}
	t.Logf("all %d lines back after %v in the middle, %v at most; later than 2s: %d of %d", killCards,
		back[len(back)/2].Round(time.Millisecond), back[len(back)-1].Round(time.Millisecond), late, len(back))
	for i, c := range s.cards {
		t.Logf("card %d: %d octets, %d channels, %d lost", i, c.octets.Load(), c.opened.Load(), c.lost.Load())
	}
	t.Logf("bipd has %d open files and %s, apd %d and %s", s.files("bipd"), s.memory("bipd"), s.files("apd"), s.memory("apd"))
	s.stop("apd")
	s.stop("bipd")
}

// killStand is both daemons, the cards, and a server.
type killStand struct {
	t      *testing.T
	dir    string
	cards  []*killCard
	server netip.AddrPort
	procs  map[string]*daemonProcess

	ctx     context.Context // of the cards
	running sync.WaitGroup  // cards

	mu   sync.Mutex
	up   map[string]bool // lines, as bipd logs them
	tail []string        // of both logs
}

type daemonProcess struct {
	cmd    *exec.Cmd
	logged sync.WaitGroup
}

func newKillStand(t *testing.T) *killStand {
	t.Helper()
	dir, err := os.MkdirTemp("", "bip-kill-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	buildDaemons(t, dir)
	s := &killStand{t: t, dir: dir, procs: map[string]*daemonProcess{}, up: map[string]bool{}}
	s.serve()
	s.configure()
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(context.Background())
	for i := range killCards {
		c := &killCard{stand: s, socket: filepath.Join(dir, fmt.Sprintf("card%d.sock", i))}
		s.cards = append(s.cards, c)
	}
	t.Cleanup(func() {
		cancel()
		for _, p := range s.procs { // not kill, whose failure would hide what the daemons said
			_ = p.cmd.Process.Kill()
			p.logged.Wait()
			_ = p.cmd.Wait()
		}
		ended := make(chan struct{})
		go func() { s.running.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the cards do not end")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.Failed() {
			t.Logf("the daemons said last:\n%s", strings.Join(s.tail, "\n"))
		}
	})
	return s
}

// dialIn has the cards load from the server, by whatever bipd there is, until the test ends.
func (s *killStand) dialIn() {
	for _, c := range s.cards {
		s.running.Go(func() { c.dialIn(s.ctx) })
	}
}

// pattern is what the server sends.
func pattern(at int64) byte { return byte(at ^ at>>7 ^ at>>15) }

// serve sends to whoever connects, without an end.
func (s *killStand) serve() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.server = ln.Addr().(*net.TCPAddr).AddrPort()
	var clients sync.WaitGroup
	clients.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			clients.Go(func() {
				defer c.Close()
				block := make([]byte, 1<<15)
				for at := int64(0); ; at += int64(len(block)) {
					for i := range block {
						block[i] = pattern(at + int64(i))
					}
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			})
		}
	})
	s.t.Cleanup(func() { ln.Close(); clients.Wait() })
}

func (s *killStand) configure() {
	const loopback = "[[egress.rule]]\naction = \"allow\"\nprefix = [\"127.0.0.0/8\"]\n"
	bipd := "[log]\nformat = \"json\"\n[control]\nsocket = \"\"\n[terminal]\npoll_interval = \"1s\"\n" +
		"[limits]\nopen_channel = 0\nlog_lines = 0\n" + loopback // the cards open channels as fast as they can
	for i := range killCards {
		bipd += fmt.Sprintf("[[card]]\nname = \"card%d\"\nreader = \"vpcd:unix:%s/card%d.sock\"\n[card.line]\npath = \"%s/lines/card%d\"\nmultiplexer = true\n",
			i, s.dir, i, s.dir, i)
	}
	files := map[string]string{
		"bipd.toml": bipd,
		"apd.toml": fmt.Sprintf("profiles = \"%s/profiles.toml\"\nlines = \"%s/lines\"\n[log]\nformat = \"json\"\n[control]\nsocket = \"\"\n",
			s.dir, s.dir) + "[limits]\nat_commands = 0\nopen_channel = 0\nlog_lines = 0\n" + loopback,
		"profiles.toml": "[[profile]]\nname = \"lo\"\ndefault = true\ninterface = \"lo\"\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.dir, "lines"), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

func (s *killStand) start(name string) {
	s.t.Helper()
	p := &daemonProcess{cmd: exec.Command(filepath.Join(s.dir, name), "--config", filepath.Join(s.dir, name+".toml"))}
	log, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.procs[name] = p
	p.logged.Go(func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			s.logged(name, lines.Text())
		}
	})
}

// logged takes a line of a daemon's log.
func (s *killStand) logged(daemon, text string) {
	var record struct{ Msg, Line string }
	_ = json.Unmarshal([]byte(text), &record) // what is no record is kept for a person
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tail = append(s.tail, daemon+": "+text); len(s.tail) > 60 {
		s.tail = s.tail[1:]
	}
	if daemon == "bipd" && record.Line != "" && (record.Msg == "line up" || record.Msg == "line down") {
		s.up[record.Line] = record.Msg == "line up"
	}
}

// kill kills a daemon without notice.
func (s *killStand) kill(name string) {
	p := s.procs[name]
	_ = p.cmd.Process.Kill()
	p.logged.Wait()
	_ = p.cmd.Wait()
	delete(s.procs, name)
	if name == "bipd" {
		s.mu.Lock()
		clear(s.up)
		s.mu.Unlock()
		return
	}
	s.await("bipd to notice the end of apd", func() bool { return s.linesUp() == 0 })
}

// stop ends a daemon in order.
func (s *killStand) stop(name string) {
	s.t.Helper()
	p := s.procs[name]
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	overdue := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() }) // which Wait tells
	defer overdue.Stop()
	p.logged.Wait()
	if err := p.cmd.Wait(); err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
	delete(s.procs, name)
}

func (s *killStand) linesUp() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, up := range s.up {
		if up {
			n++
		}
	}
	return n
}

func (s *killStand) awaitLines() {
	s.t.Helper()
	s.await("all lines to be up", func() bool { return s.linesUp() == killCards })
}

// awaitLoading waits until every card has read something anew.
func (s *killStand) awaitLoading() {
	s.t.Helper()
	for i, c := range s.cards {
		before := c.octets.Load()
		s.await(fmt.Sprintf("card %d to load", i), func() bool { return c.octets.Load() > before })
	}
}

func (s *killStand) await(what string, ready func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// files counts a daemon's open files.
func (s *killStand) files(name string) int {
	s.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.procs[name].cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(list)
}

// memory is a daemon's resident memory.
func (s *killStand) memory(name string) string {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.procs[name].cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	rest, _, _ = strings.Cut(rest, "\n")
	return strings.TrimSpace(rest)
}

// killCard is a card that loads without an end.
type killCard struct {
	stand                *killStand
	socket               string
	octets, opened, lost atomic.Int64
}

// dialIn puts the card into bipd's reader whenever that is there.
func (c *killCard) dialIn(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", c.socket)
		if err != nil {
			continue
		}
		card, err := softuicc.New(softuicc.Config{Name: "card", Applets: []softuicc.Applet{c.load}})
		if err != nil {
			c.stand.t.Error(err)
			return
		}
		_ = softuicc.ServeVPCD(ctx, conn, card) // ends as bipd is killed
		card.Close()                            // which is how the card loses its power
		done, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_ = card.Wait(done)
		cancel()
		for _, v := range card.Violations() {
			c.stand.t.Errorf("terminal against the specification: %v", v)
		}
	}
}

// load is the applet: it opens a channel and reads, over and over.
func (c *killCard) load(ctx context.Context, tk *softuicc.Toolkit) error {
	for ctx.Err() == nil {
		conn, err := tk.Dial(ctx, softuicc.DialParams{
			Bearer: cat.BearerDescription{Type: cat.BearerWLAN}, Transport: cat.TCPClientRemote, Remote: c.stand.server,
			Qualifier: cat.OpenImmediate | cat.OpenBackground,
		})
		if err != nil {
			continue // no line yet; the terminal polls once a second
		}
		c.opened.Add(1)
		err = c.read(conn)
		c.lost.Add(1)
		if !errors.Is(err, io.EOF) && !errors.Is(err, softuicc.ErrReset) {
			c.stand.t.Errorf("the channel ended with %v", err)
		}
		_ = conn.Close()
	}
	return nil
}

// read reads to the end of the channel.
func (c *killCard) read(conn *softuicc.Conn) error {
	buf := make([]byte, 1024)
	for at := int64(0); ; {
		n, err := conn.Read(buf)
		for _, o := range buf[:n] {
			if o != pattern(at) {
				c.stand.t.Errorf("wrong octet at %d", at)
				return io.ErrUnexpectedEOF
			}
			at++
		}
		c.octets.Add(int64(n))
		if err != nil {
			return err
		}
	}
}
