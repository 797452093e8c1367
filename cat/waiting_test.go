package cat

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bipd/uicc"
)

// answerFunc makes a Handler of a function.
type answerFunc func(Command) Answer

func (f answerFunc) Handle(_ context.Context, c Command) Answer { return f(c) }
func (f answerFunc) Facilities() []Facility                     { return nil }

// TestWait has an answer that takes time: the card is polled meanwhile, gets no envelope, and its 91xx is not followed.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src := newTestCard(t), &testSource{}
		var order []string
		note := func(s string) func() { return func() { order = append(order, s) } }
		h := answerFunc(func(c Command) Answer {
			return Answer{Wait: func(ctx context.Context) func() Answer {
				time.Sleep(70 * time.Second)
				return func() Answer { // not ready yet: once more
					return Answer{Wait: func(ctx context.Context) func() Answer {
						time.Sleep(10 * time.Second)
						return func() Answer {
							return Answer{Response: Respond(c, OK), Sending: note("sending"), Sent: note("sent")}
						}
					}}
				}
			}}
		})
		card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
			switch cmd.INS {
			case insTerminalResponse:
				order = append(order, "response")
			case insStatus: // a card that announces what it cannot give
				return sw(0x9109), nil, card.outstanding != nil
			}
			return nil, nil, false
		}
		b := runSession(t, card, Config{}, func(s *Session) { s.Handle(h, TypeLaunchBrowser); s.AddSource(src) })
		b.subscribe(EventLocationStatus)
		b.do(func() { order = nil })
		n, ended := card.count("80F2"), src.ended
		got := b.give(command(1, 0, &Unsupported{Command: TypeLaunchBrowser}), command(2, 0, &MoreTime{}))
		b.tell(src, LocationStatusEvent(LocationLimited, nil))
		b.sleep(79 * time.Second)
		if len(got) != 0 || len(card.envelopes) != 0 || card.count("80F2")-n != 3 {
			t.Errorf("while it waits: %d responses, %d envelopes, %d STATUS", len(got), len(card.envelopes), card.count("80F2")-n)
		}
		b.sleep(2 * time.Second)
		if len(card.responses) != 3 || !slices.Equal(order, []string{"sending", "response", "sent", "response"}) {
			t.Errorf("%d responses, in order %v", len(card.responses), order)
		}
		if len(card.envelopes) != 1 || src.ended != ended+1 {
			t.Errorf("%d envelopes, %d chains", len(card.envelopes), src.ended-ended)
		}
		b.stop()
	})
}

// TestAnnouncedWhileWaiting has a card that announces a command while another is not answered, and then has none.
func TestAnnouncedWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
			return sw(0x9109), nil, cmd.INS == insStatus && card.outstanding != nil
		}
		h := answerFunc(func(c Command) Answer {
			return Answer{Wait: func(context.Context) func() Answer {
				time.Sleep(40 * time.Second)
				return func() Answer { return Answer{Response: Respond(c, OK)} }
			}}
		})
		b := runSession(t, card, Config{}, func(s *Session) { s.Handle(h, TypeLaunchBrowser) })
		b.give(command(1, 0, &Unsupported{Command: TypeLaunchBrowser}))
		b.sleep(time.Minute)
		if card.count("8012") != 1 || len(card.responses) != 1 {
			t.Errorf("%d FETCH, %d responses", card.count("8012"), len(card.responses))
		}
		b.stop()
	})
}

// TestPost has functions that run on the card's goroutine, also those that are posted by one of them.
func TestPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, ran := newTestCard(t), 0
		b := runSession(t, card, Config{})
		b.s.Post(func() { ran++; b.s.Post(func() { ran++ }) })
		synctest.Wait()
		if ran != 2 {
			t.Errorf("%d functions ran", ran)
		}
		b.cancel(errors.New("enough"))
		b.s.Post(func() { ran++; b.s.Post(func() { ran++ }) }) // before or after the end: it runs or is refused
		if err := b.end(); err == nil || err.Error() != "enough" {
			t.Errorf("%v, want the context's cause", err)
		}
		before := ran
		if b.s.Post(func() { ran++ }) || ran != before {
			t.Error("Post after the end")
		}
		b.s.Wake() // does not block
		b.s.Wake()
	})
}

// TestPostRace posts while the session ends: a function runs exactly where Post said so.
func TestPostRace(t *testing.T) {
	for range 50 {
		card := newTestCard(t)
		s := NewSession(card, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() { _ = s.Run(ctx); close(done) }()
		ran, taken := make(chan struct{}, 1000), 0
		for i := range 100 {
			if i == 50 {
				cancel()
			}
			if s.Post(func() { ran <- struct{}{} }) {
				taken++
			}
		}
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("the session does not end")
		}
		if len(ran) != taken {
			t.Fatalf("%d functions ran, %d were taken", len(ran), taken)
		}
	}
}

// TestEndWhileWaiting ends the session in each way while an answer is being made: what was waited for is told of the end,
// and its result is not lost.
func TestEndWhileWaiting(t *testing.T) {
	tests := []struct {
		name string
		end  func(*bench)
		want error
	}{
		{"cancelled", func(b *bench) { b.cancel(nil) }, context.Canceled},
		{"card removed", func(b *bench) {
			b.do(func() {
				b.card.hook = func(int, uicc.Command) ([]byte, error, bool) { return nil, uicc.ErrRemoved, true }
			})
		}, uicc.ErrRemoved},
		{"card mute", func(b *bench) {
			b.do(func() { b.card.hook = func(int, uicc.Command) ([]byte, error, bool) { return nil, uicc.ErrMute, true } })
		}, uicc.ErrMute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				card, src, finished := newTestCard(t), &testSource{}, 0
				h := answerFunc(func(c Command) Answer {
					return Answer{Wait: func(ctx context.Context) func() Answer {
						<-ctx.Done()
						return func() Answer {
							finished++
							return Answer{Response: Respond(c, OK), Sent: func() { t.Error("sent") }}
						}
					}}
				})
				b := runSession(t, card, Config{}, func(s *Session) { s.Handle(h, TypeLaunchBrowser); s.AddSource(src) })
				b.give(command(1, 0, &Unsupported{Command: TypeLaunchBrowser}))
				tt.end(b)
				if err := b.end(); !errors.Is(err, tt.want) {
					t.Errorf("the session ended with %v, want %v", err, tt.want)
				}
				if finished != 1 || src.resets != 1 || len(card.responses) != 0 {
					t.Errorf("finished %d times, source told %d times, %d responses", finished, src.resets, len(card.responses))
				}
			})
		})
	}
}
