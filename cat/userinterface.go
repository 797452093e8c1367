package cat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"bipd/trace"
)

// Menu is what SET UP MENU has set up.
type Menu struct {
	Title string
	Items []MenuItem // none: the card has no menu
	Help  bool       // the card has help about the items
}

// MenuItem is one entry of a Menu.
type MenuItem struct {
	ID   byte
	Text string
}

// Reasons for which a menu selection is not sent.
var (
	ErrNoItem = errors.New("cat: the card's menu has no such item")
	ErrNoHelp = errors.New("cat: the card has no help about its menu")
)

// UserInterface takes the place of display and keypad at a terminal without either. The card's menu is kept, so that the operator
// can choose from it; texts go into log and trace. What wants an answer from a user is not offered.
type UserInterface struct {
	session   *Session
	showTexts bool
	log       *slog.Logger

	mu   sync.Mutex // the menu is also read by who asks for it
	menu Menu
}

// NewUserInterface makes the user interface of a session and registers it. With showTexts, a text in log and trace counts as
// shown: DISPLAY TEXT and SET UP IDLE MODE TEXT are offered, and answered 00; else they are logged and answered 30.
func NewUserInterface(s *Session, showTexts bool) *UserInterface {
	u := &UserInterface{session: s, showTexts: showTexts, log: s.log}
	s.Handle(u, TypeSetUpMenu, TypeDisplayText, TypeSetUpIdleModeText)
	s.AddSource(u)
	return u
}

// Facilities are the menu, and the texts where they count as shown.
func (u *UserInterface) Facilities() []Facility {
	f := []Facility{FacilitySetUpMenu, FacilityMenuSelection}
	if u.showTexts {
		f = append(f, FacilityDisplayText, FacilitySetUpIdleModeText)
	}
	return f
}

// Handle answers the commands for the user at once: nobody is there to wait for.
func (u *UserInterface) Handle(_ context.Context, c Command) Answer {
	switch b := c.Body.(type) {
	case *SetUpMenu:
		return Answer{Response: Respond(c, u.setUpMenu(b, c.Details.Qualifier))}
	case *DisplayText:
		return Answer{Response: Respond(c, u.show(c.Details.Type, &b.shownText))}
	case *SetUpIdleModeText:
		return Answer{Response: Respond(c, u.show(c.Details.Type, &b.shownText))}
	}
	return Answer{Response: Respond(c, Result{General: ResultBeyondCapabilities})}
}

func (u *UserInterface) setUpMenu(b *SetUpMenu, qualifier byte) Result {
	m := Menu{Title: b.Title.Decode(), Help: qualifier&MenuHelp != 0}
	var shown strings.Builder
	for _, i := range b.Items {
		text := i.Text.Decode()
		m.Items = append(m.Items, MenuItem{i.ID, text})
		fmt.Fprintf(&shown, "%d %s; ", i.ID, strconv.Quote(text))
	}
	if len(m.Items) == 0 {
		m = Menu{}
		u.log.Info("card removes its menu")
		u.tell("menu removed")
	} else {
		u.log.Info("card's menu", "title", m.Title, "items", strings.TrimSuffix(shown.String(), "; "))
		u.tell("menu " + strconv.Quote(m.Title) + ": " + strings.TrimSuffix(shown.String(), "; "))
	}
	u.mu.Lock()
	u.menu = m
	u.mu.Unlock()
	return withIcon(b.Icon)
}

// show puts a text into log and trace. One whose coding is not known cannot be shown.
func (u *UserInterface) show(t CommandType, s *shownText) Result {
	if !s.Text.Known() {
		return Result{General: ResultDataNotUnderstood}
	}
	text := s.Text.Decode()
	u.log.Info("card's text", "command", t, "text", text)
	u.tell(t.String() + ": " + strconv.Quote(text))
	if !u.showTexts {
		return Result{General: ResultBeyondCapabilities}
	}
	return withIcon(s.Icon)
}

// withIcon is success, also where a wanted icon could not be shown (clause 6.5.4).
func withIcon(icon []byte) Result {
	if icon != nil {
		return Result{General: ResultIconNotShown}
	}
	return OK
}

func (u *UserInterface) tell(what string) { u.session.emit(trace.UICC, trace.CP, what) }

// Menu is the card's menu as it stands. It may be called from any goroutine.
func (u *UserInterface) Menu() Menu {
	u.mu.Lock()
	defer u.mu.Unlock()
	m := u.menu
	m.Items = slices.Clone(m.Items)
	return m
}

// Selection makes the envelope by which the operator chooses an item, or asks for help about it. It may be called from any goroutine.
func (u *UserInterface) Selection(item byte, help bool) (Envelope, error) {
	m := u.Menu()
	switch {
	case !slices.ContainsFunc(m.Items, func(i MenuItem) bool { return i.ID == item }):
		return Envelope{}, fmt.Errorf("%w: %d", ErrNoItem, item)
	case help && !m.Help:
		return Envelope{}, ErrNoHelp
	}
	return MenuSelectionEnvelope(item, help), nil
}

// NextEvent has nothing: selections are the operator's errands.
func (u *UserInterface) NextEvent() (Due, bool) { return Due{}, false }

// ChainEnded means nothing here.
func (u *UserInterface) ChainEnded() {}

// CardReset forgets the menu.
func (u *UserInterface) CardReset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.menu = Menu{}
}
