package guest

// The host and the first process of the guest talk over the guest's second serial line in JSON, one message after the other.
// The first process passes questions and answers on to the program that the host had it run, over a socket pair.

// message is one of its fields.
type message struct {
	Run      []string `json:"run,omitempty"`       // host: run a program, by its path and arguments
	Kill     bool     `json:"kill,omitempty"`      // host: kill that program
	PowerOff bool     `json:"power_off,omitempty"` // host: end
	Answer   *answer  `json:"answer,omitempty"`    // host: to a question

	Ready  bool      `json:"ready,omitempty"`  // guest: once, when all is set up
	Fault  string    `json:"fault,omitempty"`  // guest: what could not be set up; then it powers off
	Output []byte    `json:"output,omitempty"` // guest: what the program wrote
	Ask    *question `json:"ask,omitempty"`    // guest: the program asks the host
	Exit   *int      `json:"exit,omitempty"`   // guest: the program ended with this status, or -1
	Bye    bool      `json:"bye,omitempty"`    // guest: it powers off because it was told to
}

type question struct {
	Name     string `json:"name"`
	Argument string `json:"argument"`
}

type answer struct {
	Text  string `json:"text"`
	Error string `json:"error,omitempty"`
}

// Where things are in the guest.
const (
	initPath    = "/init"           // the test binary
	modulesPath = "/guest/modules"  // paths of the modules in the order of loading, one a line
	timeoutPath = "/guest/lifetime" // seconds after which the guest powers off
	controlTTY  = "/dev/ttyS1"
)

// insideEnv is set for programs that the host asked for. Its value is the descriptor on which they reach the first process.
const insideEnv = "GUEST_CONTROL"
