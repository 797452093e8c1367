package guest

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// Main is a suite's TestMain, given its *testing.M. On the host it runs the tests that boot guests. In the guest it does not return: as the first
// process it serves the host, and as what the host asked for it runs those tests.
func Main(m interface{ Run() int }) {
	InitIfFirst()
	flag.Parse()
	if fd, err := strconv.Atoi(os.Getenv(insideEnv)); err == nil {
		syscall.CloseOnExec(fd) // programs that the tests start have no part in it
	} else {
		if err := flag.Set("test.skip", skipInside(flag.Lookup("test.skip").Value.String())); err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

// skipInside adds the tests that belong into the guest to those that are skipped.
func skipInside(skip string) string {
	if skip == "" {
		return "^TestInside"
	}
	return "^TestInside|" + skip
}

// IsInside says whether the program runs in a guest because the host asked for it.
func IsInside() bool { return os.Getenv(insideEnv) != "" }

// InitIfFirst serves the host and never returns if this program is the first process of a guest; otherwise it returns at
// once. A program that is no test calls it first thing in main.
func InitIfFirst() {
	if os.Getpid() == 1 {
		serveAsInit()
	}
}

// Args are what the host gave to [Guest.Run] beside the pattern.
func Args() []string { return flag.Args() }

// TB is what the package needs of a testing.TB.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Logf(format string, args ...any)
	Failed() bool
	Name() string
}

// Ask has the host do what was set with [Guest.Handle] by that name, and returns what it answers. An error ends the test.
func Ask(t TB, name, argument string) string {
	t.Helper()
	text, err := TryAsk(name, argument)
	if err != nil {
		t.Fatalf("asking the host for %s: %v", name, err)
	}
	return text
}

var host struct {
	sync.Mutex
	enc *json.Encoder
	dec *json.Decoder
}

// TryAsk is Ask for a program that is no test.
func TryAsk(name, argument string) (string, error) {
	host.Lock()
	defer host.Unlock()
	if host.enc == nil {
		fd, err := strconv.Atoi(os.Getenv(insideEnv))
		if err != nil {
			return "", errors.New("guest: this program does not run in a guest")
		}
		f := os.NewFile(uintptr(fd), "control")
		host.enc, host.dec = json.NewEncoder(f), json.NewDecoder(f)
	}
	if err := host.enc.Encode(message{Ask: &question{name, argument}}); err != nil {
		return "", err
	}
	var reply message
	if err := host.dec.Decode(&reply); err != nil {
		return "", err
	}
	if reply.Answer == nil {
		return "", errors.New("guest: the host gave no answer")
	}
	if reply.Answer.Error != "" {
		return "", errors.New(reply.Answer.Error)
	}
	return reply.Answer.Text, nil
}
