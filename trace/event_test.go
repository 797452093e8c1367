package trace

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/internal/testkit"
)

func TestNilStreamTakesEvents(t *testing.T) {
	var s *Stream
	s.Emit(Event{What: "nobody hears it"})
	if s.Wanted() {
		t.Error("a nil stream wants events")
	}
}

func TestStreamStampsAndDelivers(t *testing.T) {
	s := &Stream{Source: "bipd"}
	if s.Wanted() {
		t.Error("wanted without a subscriber")
	}
	s.Emit(Event{What: "before"})
	a, b := s.Subscribe(4), s.Subscribe(4)
	if !s.Wanted() {
		t.Error("not wanted with subscribers")
	}
	given := time.Unix(1, 2)
	s.Emit(Event{What: "first"})
	s.Emit(Event{What: "second", Source: "apd", Time: given})
	for _, sub := range []*Subscription{a, b} {
		if e := take(t, sub); e.What != "first" || e.Source != "bipd" || time.Since(e.Time) > time.Minute {
			t.Errorf("first: %+v", e)
		}
		if e := take(t, sub); e.What != "second" || e.Source != "apd" || !e.Time.Equal(given) {
			t.Errorf("second: %+v", e)
		}
	}
	a.Close()
	a.Close()
	s.Emit(Event{What: "third"})
	if _, ok := <-a.C; ok {
		t.Error("an event after Close")
	}
	if e := take(t, b); e.What != "third" {
		t.Errorf("the other subscriber got %+v", e)
	}
	b.Close()
	if s.Wanted() {
		t.Error("wanted after the last Close")
	}
}

// take is the next event, which is there once Emit has returned.
func take(t *testing.T, sub *Subscription) Event {
	t.Helper()
	select {
	case e := <-sub.C:
		return e
	default:
		t.Fatal("no event")
		return Event{}
	}
}

// A sink that takes nothing costs the emitter nothing: the queue fills, and the rest is counted. When it takes again, an
// event stands in place of the lost ones.
func TestEmitNeverBlocks(t *testing.T) {
	s := Stream{Source: "apd"}
	slow := s.Subscribe(4)
	defer slow.Close()
	for i := range 10 { // would hang the test if Emit blocked
		s.Emit(Event{Bytes: i})
	}
	for i := range 4 {
		if e := take(t, slow); e.Bytes != i {
			t.Errorf("event %d where %d was due: not the oldest are kept, or not in order", e.Bytes, i)
		}
	}
	s.Emit(Event{Bytes: 10})
	if e := take(t, slow); e.Lost != 6 || e.What != "6 events lost" || e.From != AP || e.Source != "apd" || e.Err == "" || e.check() != nil {
		t.Errorf("in place of the lost ones: %+v, %v", e, e.check())
	}
	if e := take(t, slow); e.Bytes != 10 {
		t.Errorf("after them: %+v", e)
	}
	if e, ok := slow.Lost(); ok || slow.Dropped() != 6 {
		t.Errorf("%+v, %d dropped, want 6, and those told once", e, slow.Dropped())
	}
	for i := range 6 {
		s.Emit(Event{Bytes: i})
	}
	for range 4 {
		take(t, slow)
	}
	if e, ok := slow.Lost(); !ok || e.Lost != 2 { // nothing comes any more
		t.Errorf("at the end: %+v, %v", e, ok)
	}
}

// A sink that is slow all the time is told of losses now and then, not with each event.
func TestSlowSink(t *testing.T) {
	var s Stream
	sub := s.Subscribe(100)
	defer sub.Close()
	const n = 10_000
	holes, got := 0, 0
	count := func(e Event) {
		if e.Lost > 0 {
			holes++
			got += e.Lost
		} else if got++; e.Bytes != got-1 {
			t.Fatalf("event %d where %d was due", e.Bytes, got-1)
		}
	}
	for i := range n {
		s.Emit(Event{Bytes: i})
		if i%3 == 0 {
			count(take(t, sub))
		}
	}
	for len(sub.C) > 0 {
		count(take(t, sub))
	}
	if e, ok := sub.Lost(); ok {
		count(e)
	}
	if got != n || holes < 2 || holes > n/100 {
		t.Errorf("%d events and lost ones, want %d; %d holes", got, n, holes)
	}
}

// Emitters, subscribers and Close at the same time: nothing is lost without being counted. Run it with -race.
func TestStreamConcurrent(t *testing.T) {
	testkit.NoLeaks(t)
	const emitters, each = 4, 500
	var s Stream
	kept := s.Subscribe(emitters * each / 4)
	stop := make(chan struct{})
	var churn, emit, read sync.WaitGroup
	for range 2 {
		churn.Go(func() {
			for {
				sub := s.Subscribe(1)
				sub.Close()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var got, lost int
	begin := make(chan struct{})
	read.Go(func() {
		<-begin
		for e := range kept.C {
			if e.Lost == 0 {
				got++
			}
			lost += e.Lost
		}
		e, _ := kept.Lost()
		lost += e.Lost
	})
	for i := range emitters {
		emit.Go(func() {
			for n := range each {
				s.Emit(Event{Bytes: n})
				if i == 0 && n == each/2 {
					close(begin)
				}
			}
		})
	}
	emit.Wait()
	close(stop)
	churn.Wait()
	kept.Close()
	read.Wait()
	if got+lost != emitters*each || uint64(lost) != kept.Dropped() {
		t.Errorf("%d delivered, %d told as lost, %d counted, %d emitted", got, lost, kept.Dropped(), emitters*each)
	}
}

func TestRecorder(t *testing.T) {
	testkit.NoLeaks(t)
	var s Stream
	r := Record(&s, 3)
	for i := range 5 {
		s.Emit(Event{Bytes: i})
	}
	r.Close()
	r.Close()
	s.Emit(Event{Bytes: 9})
	events := r.Events()
	if len(events) != 4 || events[0].Bytes != 0 || events[2].Bytes != 2 || r.Dropped() != 2 || events[3].Lost != 2 {
		t.Errorf("kept %v, dropped %d", events, r.Dropped())
	}
	events[0].Bytes = 100
	if r.Events()[0].Bytes != 0 {
		t.Error("Events gives away the recorder's own slice")
	}
}

func TestLogTo(t *testing.T) {
	testkit.NoLeaks(t)
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := &Stream{Source: "bipd"}
	stop := LogTo(s, log)
	at := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	s.Emit(Event{Time: at, Card: "card0", Channel: 1, Step: "S404", From: CP, To: Server, What: "TCP connect", Err: "refused"})
	s.Emit(Event{Time: at, From: UICC, To: CP, What: "FETCH", Bytes: 237, APDU: "8012000020", RAPDU: "9000"})
	stop()
	stop()
	stop = LogTo(s, slog.New(slog.NewTextHandler(&out, nil)))
	if s.Wanted() {
		t.Error("a log without debug records wants events")
	}
	stop()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		`level=DEBUG msg="TCP connect" source=bipd from=CP to=server card=card0 step=S404 err=refused channel=1 at=2025-06-01T12:00:00.000Z`,
		`level=DEBUG msg=FETCH source=bipd from=UICC to=CP apdu=8012000020 rapdu=9000 bytes=237 at=2025-06-01T12:00:00.000Z`,
	}
	if len(lines) != len(want) {
		t.Fatalf("log:\n%s", out.String())
	}
	for i, w := range want {
		if _, got, _ := strings.Cut(lines[i], " "); got != w {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, got, w)
		}
	}
}

// gate is a log's writer that waits until it is opened, as a log that is too slow.
type gate struct {
	entered chan struct{} // closed at the first Write
	once    sync.Once
	open    chan struct{}
	bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	g.once.Do(func() { close(g.entered) })
	<-g.open
	return g.Buffer.Write(p)
}

func TestLogToReportsDrops(t *testing.T) {
	testkit.NoLeaks(t)
	g := &gate{entered: make(chan struct{}), open: make(chan struct{})}
	var s Stream
	stop := LogTo(&s, slog.New(slog.NewTextHandler(g, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s.Emit(Event{What: "held"})
	select {
	case <-g.entered:
	case <-time.After(30 * time.Second):
		t.Error("nothing is written") // and the gate is opened, lest the end of the log waits for it
	}
	for range queue + 7 {
		s.Emit(Event{What: "more"})
	}
	close(g.open)
	stop()
	if n := strings.Count(g.String(), "trace events dropped"); n != 1 || !strings.Contains(g.String(), "events=7") {
		t.Errorf("%d warnings, or not of 7 events", n)
	}
}
