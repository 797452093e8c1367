package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeQEMU answers as QEMU does, with an event before each reply. It gives nothing back for the command "hang".
func fakeQEMU(conn net.Conn) {
	fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": []}}`)
	for s := bufio.NewScanner(conn); s.Scan(); {
		var c struct {
			Execute   string
			Arguments map[string]any
		}
		if json.Unmarshal(s.Bytes(), &c) != nil {
			return
		}
		switch c.Execute {
		case "hang":
		case "device_add":
			fmt.Fprintln(conn, `{"error": {"class": "GenericError", "desc": "no such driver"}}`)
		case "device_del":
			fmt.Fprintln(conn, `{"return": {}}`)
			fmt.Fprintln(conn, `{"event": "DEVICE_DELETED", "data": {"path": "/machine/peripheral/other"}}`)
			fmt.Fprintf(conn, `{"event": "DEVICE_DELETED", "data": {"device": %q}}`+"\n", c.Arguments["id"])
		default:
			fmt.Fprintln(conn, `{"event": "RTC_CHANGE", "data": {"offset": 1}}`)
			fmt.Fprintf(conn, `{"return": {"did": %q}}`+"\n", c.Execute)
		}
	}
}

func TestQMP(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go fakeQEMU(theirs)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	q, err := newQMP(ctx, ours)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := q.Execute(ctx, "query-status", nil); err != nil || string(got) != `{"did": "query-status"}` {
		t.Errorf("%s, %v", got, err)
	}
	if err := q.Plug(ctx, "no-driver", map[string]any{"id": "a"}); err == nil || !strings.Contains(err.Error(), "no such driver") {
		t.Errorf("what QEMU refuses: %v", err)
	}
	if err := q.Unplug(ctx, "ccid"); err != nil {
		t.Error(err)
	}
	if err := q.Unplug(ctx, ""); err == nil {
		t.Error("a device without an id can be removed")
	}
	for range 2 { // one of the negotiation, one of query-status; they were kept
		if e, err := q.WaitEvent(ctx, "RTC_CHANGE", nil); err != nil || e.Data["offset"] != 1.0 {
			t.Errorf("%+v, %v", e, err)
		}
	}
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if _, err := q.WaitEvent(short, "RTC_CHANGE", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an event that was taken comes again: %v", err)
	}
	if _, err := q.Execute(short, "hang", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command without a reply: %v", err)
	}
	if _, err := q.Execute(ctx, "query-status", nil); err == nil {
		t.Error("a command after one without a reply might get its reply")
	}
	if _, err := q.WaitEvent(ctx, "RTC_CHANGE", nil); err == nil {
		t.Error("waiting at the end of the line")
	}
}
