package pcsc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/uicc"

	"golang.org/x/sys/unix"
)

// The tests of this file run against Debian's pcscd with its driver for cards of software:
//
//	this test -- socket --> pcscd -- libifdvpcd.so <-- TCP 35963 -- vpcdCard (this test)
//
// The driver listens on all addresses and pcscd has its socket under /run, hence the test runs itself again in a network
// and a mount namespace of its own, which needs root or user namespaces.

const (
	vpcdDriver = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
	vpcdAddr   = "127.0.0.1:35963"
	vpcdReader = "Virtual PCD 00 00"

	insideEnv   = "BIPD_TEST_PCSCD_INSIDE"
	cannotSetUp = "cannot set up: " // begins the line by which the inner run says why it skips
)

func TestPcscd(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		testInside(t)
		return
	}
	pcscd, err := exec.LookPath("pcscd")
	if err != nil {
		if pcscd = "/usr/sbin/pcscd"; !exists(pcscd) {
			t.Skip("pcscd is not installed")
		}
	}
	if !exists(vpcdDriver) {
		t.Skip("vsmartcard-vpcd is not installed: no " + vpcdDriver)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestPcscd$", "-test.v")
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), insideEnv+"="+pcscd)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no namespaces here: %v", err)
	}
	if _, why, skipped := strings.Cut(string(out), cannotSetUp); skipped {
		why, _, _ = strings.Cut(why, "\n")
		t.Skip(why)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestPcscd") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// isolate makes the namespaces usable: mounts stay inside, /run is empty, the loopback interface is up.
func isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.Mkdir("/run/pcscd", 0o755); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// startPcscd runs pcscd with the one reader, and returns its end.
func startPcscd(t *testing.T, path string) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	conf := fmt.Sprintf("FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:0x8C7B\nLIBPATH %s\nCHANNELID 0x8C7B\n", vpcdDriver)
	if err := os.WriteFile(filepath.Join(dir, "vpcd"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(path, "-f", "-i", "-c", dir)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Wait() // its status says nothing: it was told to end
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("pcscd said:\n%s", log.String())
		}
	})
	return stop
}

// eventually tries f until it succeeds.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// vpcdCard is a card of software that has dialled pcscd's driver.
type vpcdCard struct {
	conn net.Conn
	done chan struct{}

	mu   sync.Mutex
	seen []string
	apdu func(capdu []byte) []byte // the response; nil: none, and the card leaves
}

// insertCard dials the driver and answers it.
func insertCard(t *testing.T, apdu func([]byte) []byte) *vpcdCard {
	t.Helper()
	c := &vpcdCard{done: make(chan struct{}), apdu: apdu}
	eventually(t, "dial the driver", func() (err error) {
		c.conn, err = net.Dial("tcp", vpcdAddr)
		return err
	})
	t.Cleanup(func() { c.leave(t) })
	go c.serve()
	return c
}

// serve answers until the connection ends.
func (c *vpcdCard) serve() {
	defer close(c.done)
	defer c.conn.Close()
	in := bufio.NewReader(c.conn)
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		payload := make([]byte, binary.BigEndian.Uint16(head))
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		answer := atrT0
		if !bytes.Equal(payload, []byte{4}) { // 04 asks for the ATR, and so for the card's presence
			c.mu.Lock()
			c.seen = append(c.seen, fmt.Sprintf("%X", payload))
			c.mu.Unlock()
			if len(payload) == 1 {
				continue // 00, 01, 02: power off, power on, reset
			}
			if answer = c.apdu(payload); answer == nil {
				return
			}
		}
		c.conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	}
}

func (c *vpcdCard) leave(t *testing.T) {
	t.Helper()
	c.conn.Close()
	awaitEnd(t, "the card", c.done)
}

// log is what the card has seen since the last call.
func (c *vpcdCard) log() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.seen, " ")
	c.seen = nil
	return s
}

// twoStep answers by 61xx, by a warning to ENVELOPE, or 6Cxx to STATUS, and then as it should.
func twoStep() func(capdu []byte) []byte {
	warned := false
	return func(capdu []byte) []byte {
		switch {
		case capdu[1] == 0xC2:
			warned = true
			return hx("6310")
		case capdu[1] == uicc.InsGetResponse && warned && capdu[4] == 0:
			return hx("6C02")
		case capdu[1] == uicc.InsGetResponse && warned:
			warned = false
			return hx("AABB9000")
		case capdu[1] == uicc.InsGetResponse:
			return hx("01029000")
		case capdu[1] == 0xF2 && capdu[4] != 1:
			return hx("6C01")
		case capdu[1] == 0xF2:
			return hx("55910B")
		}
		return hx("6102")
	}
}

// testInside is the test proper, in the namespaces.
func testInside(t *testing.T) {
	if err := isolate(); err != nil {
		fmt.Println(cannotSetUp + err.Error())
		return
	}
	testkit.NoLeaks(t)
	stop := startPcscd(t, os.Getenv(insideEnv))
	eventually(t, "reach pcscd", func() error {
		list, err := List(testContext(t), Config{})
		if err == nil && !slices.Contains(list, vpcdReader) { // the driver has a second slot
			err = fmt.Errorf("readers %q", list)
		}
		return err
	})
	r := newReader(t, vpcdReader, Config{})
	r.grace = patience                      // pcscd may be slow where much else runs
	states := r.Watch(context.Background()) // ends by SlotGone
	t.Run("session", func(t *testing.T) { insideSession(t, r, states) })
	t.Run("stuck", func(t *testing.T) { insideStuck(t, r, states) })
	t.Run("removal", func(t *testing.T) { insideRemoval(t, r, states) })
	t.Run("pcscd ends", func(t *testing.T) {
		insertCard(t, twoStep())
		await(t, states, uicc.SlotPresent)
		c := connect(t, r)
		stop()
		await(t, states, uicc.SlotGone)
		if _, err := c.Transmit(testContext(t), hx("80F2000C00")); !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("%v", err)
		}
		if err := c.Reset(testContext(t), uicc.ColdReset); !errors.Is(err, ErrDaemon) {
			t.Errorf("%v", err)
		}
	})
}

func insideSession(t *testing.T, r *Reader, states <-chan uicc.SlotState) {
	await(t, states, uicc.SlotEmpty)
	if _, err := r.Connect(testContext(t)); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("empty slot: %v", err)
	}
	_, err := newReader(t, "No such reader", Config{}).Connect(testContext(t))
	if !errors.Is(err, uicc.ErrRemoved) || !strings.Contains(err.Error(), vpcdReader) {
		t.Errorf("wrong name: %v", err)
	}
	card := insertCard(t, twoStep())
	await(t, states, uicc.SlotPresent)
	c := connect(t, r)
	if !bytes.Equal(c.ATR(), atrT0) {
		t.Errorf("ATR %X", c.ATR())
	}
	if got := card.log(); !strings.HasSuffix(got, "00 01") {
		t.Errorf("connecting sent %q, no cold reset at its end", got)
	}
	for _, step := range []struct{ capdu, want, sent string }{
		{"00A40004023F0000", "01029000", "00A40004023F00 00C0000002"},
		{"80F2000000", "55910B", "80F2000000 80F2000001"},
		{"00440000", "01029000", "0044000000 00C0000002"},
		{"80C2000002D100", "AABB6310", "80C2000002D100 00C0000000 00C0000002"}, // its data waits behind the warning
		{"80C2000002D10000", "AABB6310", "80C2000002D100 00C0000000 00C0000002"},
	} {
		rapdu, err := c.Transmit(testContext(t), hx(step.capdu))
		if err != nil || !bytes.Equal(rapdu, hx(step.want)) {
			t.Errorf("%s: %X, %v, want %s", step.capdu, rapdu, err, step.want)
		}
		if got := card.log(); got != step.sent {
			t.Errorf("%s: sent %s, want %s", step.capdu, got, step.sent)
		}
	}
	if _, err := r.Connect(testContext(t)); !errors.Is(err, ErrSharingViolation) {
		t.Errorf("second Connect: %v", err)
	}
	for kind, want := range map[uicc.ResetKind]string{uicc.WarmReset: "02", uicc.ColdReset: "00 01"} {
		if err := c.Reset(testContext(t), kind); err != nil {
			t.Error(err)
		}
		if got := card.log(); got != want {
			t.Errorf("reset %d sent %q, want %q", kind, got, want)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "power off at Close", func() error { // the card does not answer it, so that it may come later
		if got := card.log(); got != "00" {
			return fmt.Errorf("sent %q", got)
		}
		return nil
	})
	card.leave(t)
	await(t, states, uicc.SlotEmpty)
}

// insideStuck: a command whose context ends; the card answers late, and a reset brings it back.
func insideStuck(t *testing.T, r *Reader, states <-chan uicc.SlotState) {
	asked, release := make(chan struct{}), make(chan struct{})
	first, well := true, twoStep()
	card := insertCard(t, func(capdu []byte) []byte {
		if first {
			first = false
			close(asked)
			select {
			case <-release:
			case <-t.Context().Done():
			}
		}
		return well(capdu)
	})
	await(t, states, uicc.SlotPresent)
	c := connect(t, r)
	if _, err := c.Transmit(cancelWhen(t, asked), hx("00A40004023F0000")); err != context.Canceled {
		t.Errorf("%v", err)
	}
	close(release)
	if err := c.Reset(testContext(t), uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	if rapdu, err := c.Transmit(testContext(t), hx("00A40004023F0000")); err != nil || !bytes.Equal(rapdu, hx("01029000")) {
		t.Errorf("%X, %v", rapdu, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	card.leave(t)
	await(t, states, uicc.SlotEmpty)
}

// insideRemoval: the card leaves in the middle of an exchange, and another one comes.
func insideRemoval(t *testing.T, r *Reader, states <-chan uicc.SlotState) {
	insertCard(t, func([]byte) []byte { return nil })
	await(t, states, uicc.SlotPresent)
	old := connect(t, r)
	if _, err := old.Transmit(testContext(t), hx("80F2000C00")); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("removed in an exchange: %v", err)
	}
	await(t, states, uicc.SlotEmpty)
	card := insertCard(t, twoStep())
	await(t, states, uicc.SlotPresent)
	if err := old.Reset(testContext(t), uicc.ColdReset); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("the old Card took the new card: %v", err)
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	c := connect(t, r)
	if rapdu, err := c.Transmit(testContext(t), hx("80F2000000")); err != nil || !bytes.Equal(rapdu, hx("55910B")) {
		t.Errorf("%X, %v", rapdu, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	card.leave(t)
	await(t, states, uicc.SlotEmpty)
}
