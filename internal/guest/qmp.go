package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
)

// QMP is QEMU's control protocol (QEMU Machine Protocol): one JSON object a line.
type QMP struct {
	conn net.Conn

	command sync.Mutex // one at a time
	replies chan qmpReply

	mu     sync.Mutex
	events []Event
	more   chan struct{} // closed and renewed at each event
	err    error         // why there are no more
}

// Event is what QEMU tells unasked.
type Event struct {
	Name string         `json:"event"`
	Data map[string]any `json:"data"`
}

type qmpReply struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event
}

// newQMP reads the greeting and leaves the negotiation mode.
func newQMP(ctx context.Context, conn net.Conn) (*QMP, error) {
	q := &QMP{conn: conn, replies: make(chan qmpReply, 1), more: make(chan struct{})}
	go q.read()
	if _, err := q.Execute(ctx, "qmp_capabilities", nil); err != nil {
		return nil, err
	}
	return q, nil
}

func (q *QMP) read() {
	dec := json.NewDecoder(q.conn)
	for {
		var r qmpReply
		err := dec.Decode(&r)
		if err != nil {
			q.mu.Lock()
			q.err = fmt.Errorf("QMP: %w", err)
			close(q.more)
			q.mu.Unlock()
			close(q.replies)
			return
		}
		switch {
		case r.Greeting != nil:
		case r.Name != "":
			q.mu.Lock()
			q.events = append(q.events, r.Event)
			close(q.more)
			q.more = make(chan struct{})
			q.mu.Unlock()
		default:
			q.replies <- r
		}
	}
}

// Execute has QEMU do a command, and returns what it gives back. What QEMU refuses is an error.
func (q *QMP) Execute(ctx context.Context, command string, arguments map[string]any) (json.RawMessage, error) {
	q.command.Lock()
	defer q.command.Unlock()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline() // none: the zero time, which is none to the connection as well
	q.conn.SetWriteDeadline(deadline)
	if _, err := q.conn.Write(append(text, '\n')); err != nil {
		q.conn.Close() // half a command may be on its way
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("QMP: %s: %w", command, err)
	}
	select {
	case r, ok := <-q.replies:
		switch {
		case !ok:
			return nil, q.end()
		case r.Error != nil:
			return nil, fmt.Errorf("QMP: %s: %s: %s", command, r.Error.Class, r.Error.Desc)
		}
		return r.Return, nil
	case <-ctx.Done():
		q.conn.Close() // its reply would be taken for that of the next command
		return nil, fmt.Errorf("QMP: %s: %w", command, ctx.Err())
	}
}

func (q *QMP) end() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// WaitEvent waits for an event of that name for which match, which may be nil, is true, and takes it. Events that came
// before the call count, each once; others are kept.
func (q *QMP) WaitEvent(ctx context.Context, name string, match func(data map[string]any) bool) (Event, error) {
	for {
		q.mu.Lock()
		at := slices.IndexFunc(q.events, func(e Event) bool { return e.Name == name && (match == nil || match(e.Data)) })
		if at >= 0 {
			e := q.events[at]
			q.events = slices.Delete(q.events, at, at+1)
			q.mu.Unlock()
			return e, nil
		}
		more, err := q.more, q.err
		q.mu.Unlock()
		if err != nil {
			return Event{}, err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("QMP: waiting for %s: %w", name, ctx.Err())
		}
	}
}

// Plug adds a device: its driver and properties, as in [Config.Devices].
func (q *QMP) Plug(ctx context.Context, driver string, properties map[string]any) error {
	arguments := map[string]any{"driver": driver}
	for k, v := range properties {
		arguments[k] = v
	}
	_, err := q.Execute(ctx, "device_add", arguments)
	return err
}

// Unplug removes the device with that id and waits until it is gone.
func (q *QMP) Unplug(ctx context.Context, id string) error {
	if id == "" {
		return errors.New("QMP: a device without an id cannot be removed")
	}
	if _, err := q.Execute(ctx, "device_del", map[string]any{"id": id}); err != nil {
		return err
	}
	_, err := q.WaitEvent(ctx, "DEVICE_DELETED", func(data map[string]any) bool { return data["device"] == id })
	return err
}
