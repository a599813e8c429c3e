#include "api.h"

const struct sl_api *sl_serve_api(void)
{
	return &sl_api_in_process;
}
