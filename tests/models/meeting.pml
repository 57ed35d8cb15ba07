/* The meeting of a node's ranks (csrc/shm/node.cc, csrc/shm/wait.cc), with one rank that may die before any step.
 *
 * Checked: nobody leaves a meeting before all have come; what a rank reads of another is what that one wrote for this
 * meeting; no wake-up is lost; once a rank is dead every other one ends, either because the dead one had done its part
 * or with PeerLost, which never names a rank that lives.
 *
 * A sleep ends by itself (the code's slice of 50 ms) only after a death, when nobody else can move, and twice at most:
 * who has not found out by then never will. Without a death a rank that sleeps for ever is an error here, though the code
 * would only be late. Deadlines are left out for the same reason.
 *
 *   spin -a meeting.pml && cc -O2 -DCOLLAPSE -DSAFETY -o pan pan.c && ./pan -m200000 -w24
 *
 * -DCROWDED is the variant with a counter and an epoch. With -DBLAME_ONLY_WHO_HAS_NOT_COME or -DSLEEP_WITHOUT_A_LOOK the
 * protocol is wrong on purpose: the checker must find it.
 */
#ifndef N
#define N 3
#endif
#ifndef MEETINGS
#define MEETINGS 3 /* the first half of the control lines is used again */
#endif
#define SLICES 2
#define AWAKE 255
#define NOBODY 255

byte said[N * 2];    /* what rank i wrote for a meeting, in the half of that meeting */
byte round[N * 2];   /* ControlLine::round */
byte waiters[N * 2]; /* ControlLine::waiters */
byte arrived, epoch, sleepers;
byte broken, blamed = NOBODY; /* Hub::broken: 0, 1 while the text is written, 2 */
byte bed[N] = AWAKE;          /* the futex word on which a rank sleeps */
bool dead[N];
byte deaths; /* still to come */

#define SLOT(i, g) ((i) * 2 + ((g) & 1))
#define EPOCH (N * 2)

#ifdef CROWDED
#define WORD_LATE (epoch != g)
#else
#define WORD_LATE true
#endif

/* Death may come before the step that follows. */
#define MORTAL if :: deaths > 0 -> atomic { deaths--; dead[me] = true; bed[me] = AWAKE; goto gone } :: true fi

inline wake(word) {
  atomic { for (k : 0 .. N - 1) { if :: bed[k] == word -> bed[k] = AWAKE :: else fi } }
}

inline wake_everybody() {
  atomic { for (k : 0 .. N - 1) { bed[k] = AWAKE } }
}

/* Node::check: is anybody dead? First of those who have not come; but all may have come and not the word, since whoever
 * should have written it is dead. */
inline check() {
  if :: broken > 0 -> goto failed :: else fi;
  culprit = NOBODY;
  for (k : 0 .. N - 1) {
    if
    :: round[SLOT(k, g)] != g && dead[k] -> culprit = k
    :: else
    fi
  }
#ifndef BLAME_ONLY_WHO_HAS_NOT_COME
  if
  :: culprit == NOBODY -> for (k : 0 .. N - 1) { if :: dead[k] -> culprit = k :: else fi }
  :: else
  fi;
#endif
  if
  :: culprit != NOBODY && WORD_LATE ->
    MORTAL;
    atomic { if :: broken == 0 -> broken = 1; mine = true :: else -> mine = false fi };
    if
    :: mine ->
      MORTAL;
      blamed = culprit;
      MORTAL;
      broken = 2
    :: else
    fi;
    MORTAL;
    wake_everybody();
    goto failed
  :: else
  fi
}

/* wait_equal: announce the sleeper, look once more, sleep unless the word has changed. */
inline wait_equal(word, value, count, where) {
  if
  :: word == value
  :: else ->
    MORTAL;
    count++;
    slices = SLICES;
    do
    :: MORTAL;
      seen = word;
      if :: seen == value -> break :: else fi;
      MORTAL;
#ifdef SLEEP_WITHOUT_A_LOOK
      bed[me] = where;
#else
      atomic { if :: word == seen -> bed[me] = where :: else fi };
#endif
      if
      :: bed[me] == AWAKE
      :: deaths > 0 -> atomic { deaths--; dead[me] = true; bed[me] = AWAKE; goto gone }
      :: timeout && slices > 0 && (dead[0] || dead[1] || dead[N - 1]) -> slices--; bed[me] = AWAKE
      fi;
      if :: word == value -> break :: else fi;
      check()
    od;
    count--
  fi
}

proctype Rank(byte me) {
  byte g, j, k, seen, culprit, slices;
  bool mine, last;
  for (g : 1 .. MEETINGS) {
    MORTAL;
    said[SLOT(me, g)] = g; /* announce() */
    MORTAL;
    if :: broken > 0 -> goto failed :: else fi;
    round[SLOT(me, g)] = g;
    MORTAL;
#ifdef CROWDED
    atomic { arrived++; last = (arrived == N * g) };
    MORTAL;
    if
    :: last ->
      epoch = g;
      MORTAL;
      if :: sleepers > 0 -> wake(EPOCH) :: else fi
    :: else -> wait_equal(epoch, g, sleepers, EPOCH)
    fi;
#else
    if :: waiters[SLOT(me, g)] > 0 -> wake(SLOT(me, g)) :: else fi;
    for (j : 0 .. N - 1) {
      if
      :: j != me -> wait_equal(round[SLOT(j, g)], g, waiters[SLOT(j, g)], SLOT(j, g))
      :: else
      fi
    }
#endif
    for (j : 0 .. N - 1) {
      MORTAL;
      assert(said[SLOT(j, g)] == g)
    }
  }
  goto gone;
failed:
  /* throw_broken waits for the text, but not for a writer that is dead */
  if
  :: broken == 2 -> assert(blamed != NOBODY && dead[blamed])
  :: broken == 1 && (dead[0] || dead[1] || dead[N - 1])
  fi;
gone:
  skip
}

init {
  byte i;
  if :: deaths = 0 :: deaths = 1 fi;
  atomic { for (i : 0 .. N - 1) { run Rank(i) } }
}
