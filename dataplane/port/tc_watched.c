/* The programs of a TC hook once more, noting the steps of a packet's path: see loop.c. */
#define sl_tcx_run sl_tcx_run_watched
#define sl_tc_classify sl_tc_classify_watched
#define sl_tc_run_prog sl_tc_run_prog_watched
#define sl_tc_action_run sl_tc_action_run_watched
#include "tc.c"
